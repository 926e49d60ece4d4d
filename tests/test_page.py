"""The pack on ComfyUI's real page: it loads without a complaint, in both renderers and with both frontends."""

from __future__ import annotations

import pytest

from tests.hosting.browser import FRONTENDS, RENDERERS


@FRONTENDS
@RENDERERS
def test_nodes_are_added_connected_and_kept_over_a_reload(page, renderer, frontend):
    budget, sampler = page.add("ReCacheBudget", 100, 100), page.add("KSampler", 600, 100)
    page.connect(budget, "MODEL", sampler, "model")
    page.set_widget(budget, "budget", 0.5)
    prompt = page.prompt()
    assert prompt[str(sampler)]["inputs"]["model"] == [str(budget), 0]
    page.reload()
    assert page.prompt() == prompt
    assert page.widget(budget, "budget") == 0.5
    assert page.evaluate("() => Boolean(LiteGraph.vueNodesMode)") == (renderer == "nodes2")
    assert page.screenshot(f"smoke-{frontend}", budget).stat().st_size > 5000
    assert page.complaints() == []


ADVANCED = {"evaluations", "mechanism", "order", "cache_point", "cache_device"}  # of ReCache


@FRONTENDS
def test_the_classic_renderer_hides_advanced_inputs_until_asked(page):
    budget = page.add("ReCacheBudget")
    seen = ("(id) => { const node = app.graph.getNodeById(id); "
            "return node.widgets.filter((widget) => node.isWidgetVisible(widget)).map(({ name }) => name) }")
    assert set(page.evaluate(seen, budget)) == {"budget", "schedule", "policy"}
    page.settle()
    height, least = page.evaluate("(id) => { const node = app.graph.getNodeById(id); "
                                  "return [node.size[1], node.computeSize()[1]] }", budget)
    assert height <= least  # no room is left for them
    page.evaluate("(id) => app.graph.getNodeById(id).toggleAdvanced()", budget)  # "Show Advanced" in the node's menu
    assert set(page.evaluate(seen, budget)) == {"budget", "schedule", "policy", *ADVANCED}
    page.settle()
    assert page.evaluate("(id) => app.graph.getNodeById(id).size[1]", budget) > height + 20 * len(ADVANCED)
    page.screenshot("advanced", budget)
    assert page.prompt()[str(budget)]["inputs"].keys() >= ADVANCED


@RENDERERS
def test_changes_are_undone(page, renderer):
    budget = page.add("ReCacheBudget")
    page.set_widget(budget, "budget", 0.5)
    page.undo()
    assert page.widget(budget, "budget") == pytest.approx(0.3)


def test_complaints_of_the_pack_are_noticed(page):
    page.evaluate("() => { console.warn('a warning of the pack'); setTimeout(() => { throw new Error('broken') }) }")
    page.tab.wait_for_timeout(50)
    assert [line.split("\n")[0].split(" (")[0] for line in page.complaints()] == [
        "warning: a warning of the pack", "exception: broken"]
    page.console.clear()
