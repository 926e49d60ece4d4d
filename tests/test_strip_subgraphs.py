"""ReCache's strip inside subgraphs: values from their inputs and promoted widgets, nested, and used twice."""

from __future__ import annotations

import json

import pytest

from tests.hosting.browser import PAGES, RENDERERS
from tests.hosting.strip import STEPS, WORKFLOW, until

# Puts an input of a node in a subgraph, or of the subgraph in it, on the subgraph's node.
PROMOTE = """([outer, type, name]) => {
  const node = app.rootGraph.getNodeById(outer), inner = node.subgraph.nodes.find((node) =>
    type ? node.type === type : node.subgraph);
  const input = inner.inputs.find((input) => input.name === name);
  node.subgraph.addInput(name, input.type).connect(input, inner);
}"""
ENTER = """(id) => { app.canvas.setGraph(app.rootGraph); const node = app.rootGraph.getNodeById(id);
  app.canvas.openSubgraph(node.subgraph, node) }"""
WRAP = """(ids) => String(app.rootGraph.convertToSubgraph(new Set(ids.map((id) =>
  app.rootGraph.getNodeById(id)))).node.id)"""


def in_subgraph(page) -> str:
    """Budget and sampler in a subgraph with promoted steps; the subgraph node's id."""
    page.load(WORKFLOW)
    outer = page.evaluate(WRAP, [8, 9])
    page.evaluate(PROMOTE, [outer, "KSampler", "steps"])
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
    assert page.complaints() == []


@PAGES
def test_steps_that_the_page_cannot_compute_are_the_servers(page, client):
    if "ComfyNumberConvert" not in client.object_info():
        pytest.skip("this ComfyUI has no ComfyNumberConvert")
    outer = in_subgraph(page)
    other, number = page.add("PrimitiveInt", 100, 800), page.add("ComfyNumberConvert", 300, 800)
    page.set_widget(other, "value", 6)
    page.connect(other, 0, number, "value")
    page.connect(number, "INT", outer, "steps")
    shows(page, f"{outer}:8", 6)


@RENDERERS
def test_a_nested_subgraph_that_is_used_twice_shows_the_instance_that_is_open(page, renderer):
    inner = in_subgraph(page)
    outer = page.evaluate(WRAP, [inner])
    page.evaluate(PROMOTE, [outer, None, "steps"])
    page.set_widget(outer, "steps", 11)
    kind = page.evaluate("(id) => app.rootGraph.getNodeById(id).type", outer)
    second = str(page.add(kind, 100, 700))  # from the list of nodes: a pasted copy would be a subgraph of its own
    page.set_widget(second, "steps", 5)
    page.load(json.loads(json.dumps(page.workflow())))
    for node, steps in ((second, 5), (outer, 11)):
        page.evaluate(ENTER, node)
        shows(page, f"{node}:{inner}:8", steps)
    page.screenshot("strip-nested")
    assert page.complaints() == []


@PAGES
def test_presets_and_cells_set_what_is_promoted(page):
    page.load(WORKFLOW)
    outer = page.evaluate(WRAP, [8, 9])
    for name in ("budget", "policy", "evaluations"):
        page.evaluate(PROMOTE, [outer, "ReCacheBudget", name])
    page.set_widget(outer, "budget", 0.5)
    budget = f"{outer}:8"
    until(page, lambda now: len(now["computed"]) == STEPS // 2, budget)
    page.evaluate(ENTER, outer)
    page.screenshot("strip-promoted", 8)  # brings it into view
    page.tab.locator(".recache-strip button", has_text="Safe").click()
    computed = until(page, lambda now: len(now["computed"]) > STEPS // 2, budget)["computed"]
    chosen = page.prompt()[budget]["inputs"]["budget"]
    assert chosen == page.widget(outer, "budget") > 0.5
    strip = page.tab.locator(".recache-strip svg")
    strip.press("End")
    strip.press("Enter")
    until(page, lambda now: now["computed"] == sorted({*computed} ^ {STEPS - 1}), budget)
    assert page.widget(outer, "policy") == page.prompt()[budget]["inputs"]["policy"] == "list"
    primitive = page.add("PrimitiveFloat", 100, 700)
    page.set_widget(primitive, "value", 0.4)
    page.connect(primitive, 0, outer, "budget")
    page.set_widget(outer, "policy", "uniform")
    until(page, lambda now: len(now["computed"]) == round(0.4 * STEPS), budget)
    page.tab.locator(".recache-strip button", has_text="Safe").click()
    until(page, lambda now: now["computed"] == computed, budget)
    assert page.prompt()[str(primitive)]["inputs"]["value"] == chosen
    assert page.complaints() == []


@RENDERERS
def test_a_graph_that_cannot_be_followed_is_said_once(page, renderer):
    page.load(WORKFLOW)
    until(page, lambda now: "faster" in now["head"])
    page.evaluate("() => { Object.defineProperty(app.graph.getNodeById(1), 'comfyClass', "
                  "{ configurable: true, get() { throw new Error('gone') } }) }")
    until(page, lambda now: now["head"] == "The schedule can't be told from this workflow")
    page.tab.wait_for_timeout(600)
    assert page.complaints() == []
    page.evaluate("() => { Object.defineProperty(app.graph.getNodeById(1), 'comfyClass', "
                  "{ configurable: true, writable: true, value: 'UNETLoader' }) }")
    until(page, lambda now: "faster" in now["head"])
