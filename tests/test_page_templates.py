"""ReCache in ComfyUI's own workflow templates, on the real page: the strip has the number of evaluations.

No model file is there: a plan may say that it is provisional, but its N must be right.
"""

from __future__ import annotations

import time

from tests.hosting.browser import RENDERERS, ComfyPage
from tests.hosting.provision import DEFAULT_HOST
from tests.hosting.templates import INSERT, SAMPLERS, Prompt, node_types, templates, varied

SECONDS = 20.0  # that the strips may take to show their plans, on a busy machine
# {id of a Budget in the prompt: [its number of cells, its headline]}
CELLS = """(ids) => Object.fromEntries(ids.map((id) => {
  const node = id.split(':').reduce((node, id) => (node ? node.subgraph : app.rootGraph).getNodeById(id), null);
  const strip = node.widgets.find(({ name }) => name === 'schedule').element;
  const cells = [...strip.querySelectorAll('path')].map((path) => path.getAttribute('d').match(/M/g)?.length ?? 0);
  return [id, [cells.reduce((a, b) => a + b), strip.querySelector('.head').textContent]];
}))"""
PLAN = """(questions) => Promise.all(questions.map((sampler) => fetch('/recache/plan', {
  method: 'POST', headers: { 'Content-Type': 'application/json' },
  body: JSON.stringify({ settings: { budget: 0.3, policy: 'auto' }, sampler }) })
  .then((answer) => answer.json())))"""


def expected(page: ComfyPage, pairs: list[list[str]], objects: dict) -> dict[str, set[int]]:
    """Budget -> the N of its samplers by the server's plan for the prompt as it would be queued; 0: none is sampled."""
    prompt = page.prompt()
    queued = [(sampler, budget) for sampler, budget in pairs if sampler in prompt and budget in prompt]
    plans = page.evaluate(PLAN, [Prompt(prompt, objects).tree(sampler) for sampler, _ in queued])
    numbers: dict[str, set[int]] = {budget: set() for _, budget in pairs}
    for (_, budget), plan in zip(queued, plans):
        numbers[budget].add(plan.get("n", 0) if not plan.get("refusal") else 0)
    return {budget: found or {0} for budget, found in numbers.items()}


def wrong(page: ComfyPage, workflow: dict, objects: dict) -> list[str]:
    """What is not as it should be in one template."""
    page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    pairs = page.evaluate(INSERT, list(SAMPLERS))
    numbers = expected(page, pairs, objects)
    deadline = time.monotonic() + SECONDS
    while True:
        shown = page.evaluate(CELLS, list(numbers))
        differing = [f"{budget}: {shown[budget]} instead of {sorted(n)}" for budget, n in numbers.items()
                     if not agrees(*shown[budget], n)]
        if not differing or time.monotonic() > deadline:
            break
        page.tab.wait_for_timeout(50)
    complaints = page.complaints()
    page.console.clear()
    return differing + complaints + ([] if pairs else ["no sampler was found"])


def agrees(cells: int, head: str, numbers: set[int]) -> bool:
    """Whether a strip shows one of the numbers, or why none is sampled."""
    if numbers == {0} and head.startswith(("Bypassed", "Muted")):
        return True
    return cells in numbers and not head.startswith("Waiting")


@RENDERERS
def test_the_strip_is_right_in_the_hosts_templates(page, renderer, host, request, record_property):
    found = templates()
    if host.version != DEFAULT_HOST:  # the templates are its own
        known = set(page.evaluate("() => Object.keys(LiteGraph.registered_node_types)"))
        found = {name: workflow for name, workflow in found.items() if node_types(workflow) <= known}
    names = list(found)
    if not request.config.getoption("--all-templates"):  # every template of the choice in one of the renderers
        names = [name for i, name in enumerate(varied(found)) if (i % 3 == 0) == (renderer == "nodes2")]
    assert names
    objects = page.evaluate("() => fetch('/object_info').then((answer) => answer.json())")
    problems = {name: wrong(page, found[name], objects) for name in names}
    right = [name for name, said in problems.items() if not said]
    record_property("count", f"{len(right)} of {len(names)} templates with a sampler show the right strip "
                             f"({renderer}; ComfyUI has {len(found)})")
    assert {name: said for name, said in problems.items() if said} == {}
