"""ReCache Budget's strip inside subgraphs: values from their inputs and promoted widgets, nested, and used twice."""

from __future__ import annotations

import json

from tests.hosting.browser import PAGES, RENDERERS
from tests.hosting.strip import STEPS, WORKFLOW, until

# The sampler of a Budget in a subgraph whose input feeds the sampler's steps; `promote` puts that on a subgraph node.
PROMOTE = """([outer, type]) => {
  const node = app.rootGraph.getNodeById(outer), inner = node.subgraph.nodes.find((node) =>
    type ? node.type === type : node.subgraph);
  node.subgraph.addInput('steps', 'INT').connect(inner.inputs.find(({ name }) => name === 'steps'), inner);
}"""
WRAP = """(ids) => String(app.rootGraph.convertToSubgraph(new Set(ids.map((id) =>
  app.rootGraph.getNodeById(id)))).node.id)"""


def in_subgraph(page) -> str:
    """Budget and sampler in a subgraph with promoted steps; the subgraph node's id."""
    page.load(WORKFLOW)
    outer = page.evaluate(WRAP, [8, 9])
    page.evaluate(PROMOTE, [outer, "KSampler"])
    return outer


def shows(page, node: str, steps: int) -> None:
    """Waits until the strip shows so many cells, and checks that the prompt has as many steps."""
    kinds = ("computed", "forecast", "was-computed", "was-forecast")
    until(page, lambda now: sum(len(now[kind]) for kind in kinds) == steps
          and now["head"].endswith(f"of {steps} computed"), node)
    sampler = node.rpartition(":")[0] + ":9"
    inputs = page.prompt()[sampler]["inputs"]
    assert inputs["steps"] == steps or isinstance(inputs["steps"], list)


@PAGES
def test_steps_come_from_the_subgraphs_widget_or_from_outside(page):
    outer = in_subgraph(page)
    shows(page, f"{outer}:8", STEPS)
    page.set_widget(outer, "steps", 14)
    shows(page, f"{outer}:8", 14)
    primitive = page.add("PrimitiveInt", 100, 700)
    page.set_widget(primitive, "value", 7)
    page.connect(primitive, 0, outer, "steps")
    shows(page, f"{outer}:8", 7)
    other, switch = page.add("PrimitiveInt", 100, 800), page.add("ComfySwitchNode", 300, 700)
    page.set_widget(other, "value", 6)
    page.connect(other, 0, switch, "on_true")
    page.connect(primitive, 0, switch, "on_false")
    page.connect(switch, 0, outer, "steps")
    page.set_widget(switch, "switch", True)
    shows(page, f"{outer}:8", 6)
    page.set_widget(switch, "switch", False)
    shows(page, f"{outer}:8", 7)
    number = page.add("ComfyNumberConvert", 300, 800)  # the server computes what the page can't
    page.connect(other, 0, number, "value")
    page.connect(number, "INT", outer, "steps")
    shows(page, f"{outer}:8", 6)
    assert page.complaints() == []


@RENDERERS
def test_a_nested_subgraph_that_is_used_twice_shows_the_instance_that_is_open(page, renderer):
    inner = in_subgraph(page)
    outer = page.evaluate(WRAP, [inner])
    page.evaluate(PROMOTE, [outer, None])
    page.set_widget(outer, "steps", 11)
    second = page.evaluate(
        "(id) => { const copy = app.rootGraph.getNodeById(id).clone(); copy.id = -1; app.rootGraph.add(copy); "
        "return String(copy.id) }", outer)
    page.set_widget(second, "steps", 5)
    page.load(json.loads(json.dumps(page.workflow())))
    enter = ("(id) => { app.canvas.setGraph(app.rootGraph); const node = app.rootGraph.getNodeById(id); "
             "app.canvas.openSubgraph(node.subgraph, node) }")
    for node, steps in ((second, 5), (outer, 11)):
        page.evaluate(enter, node)
        shows(page, f"{node}:{inner}:8", steps)
    page.screenshot("strip-nested")
    assert page.complaints() == []


def test_a_graph_that_cannot_be_followed_is_said_once(page):
    page.load(WORKFLOW)
    until(page, lambda now: "faster" in now["head"])
    page.evaluate("() => Object.defineProperty(app.graph.getNodeById(1), 'comfyClass', "
                  "{ configurable: true, get() { throw new Error('gone') } })")
    until(page, lambda now: now["head"] == "The schedule can't be told from this workflow")
    page.tab.wait_for_timeout(600)
    assert page.complaints() == []
    page.evaluate("() => Object.defineProperty(app.graph.getNodeById(1), 'comfyClass', "
                  "{ configurable: true, writable: true, value: 'UNETLoader' })")
    until(page, lambda now: "faster" in now["head"])
