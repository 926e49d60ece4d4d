"""ReCache Budget's strip on the real page: the plan as it changes, the run as it happens, and what stays."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from tests.hosting.browser import FRONTENDS, RENDERERS, ComfyPage
from tests.trained import WEIGHTS

STEPS = 10
WORKFLOW = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "strip_flux.safetensors", "weight_dtype": "default"}},
    "2": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a dog", "model": "flux"}},
    "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "8": {"class_type": "ReCacheBudget", "inputs": {
        "model": ["1", 0], "budget": 0.3, "policy": "uniform", "evaluations": "", "mechanism": "taylor", "order": 1,
        "cache_point": "auto", "cache_device": "auto"}},
    "9": {"class_type": "KSampler", "inputs": {
        "model": ["8", 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["4", 0], "seed": 1,
        "steps": STEPS, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}},
    "10": {"class_type": "ReCacheReport", "inputs": {"samples": ["9", 0], "model": ["8", 0]}},
}
# What a strip shows: {kind of cell: numbers}, the lines of text, what a screen reader is told, and whether it is dim.
SHOWN = """(id) => {
  const at = String(id).split(':').reduce(
    (node, id) => (node ? node.subgraph : app.rootGraph ?? app.graph).getNodeById(Number(id)), null);
  const strip = at.widgets.find((widget) => widget.name === 'schedule').element;
  const cells = [...strip.querySelectorAll('path')].map((path) =>
    [path.getAttribute('class'), [...path.getAttribute('d').matchAll(/M(\\d+)/g)].map((m) => Number(m[1]))]);
  const text = (name) => strip.querySelector('.' + name).textContent;
  return { ...Object.fromEntries(cells), head: text('head'), result: text('result'), notes: text('notes'),
           spoken: strip.querySelector('svg').getAttribute('aria-label'), dim: strip.classList.contains('dim') };
}"""


@pytest.fixture(scope="module", autouse=True)
def model(request, server):
    shutil.copy(WEIGHTS / "flux.safetensors", server.models / "diffusion_models" / "strip_flux.safetensors")


def shown(page: ComfyPage, node="8") -> dict:
    return page.evaluate(SHOWN, str(node))


def until(page: ComfyPage, wanted, node="8", seconds: float = 60.0) -> dict:
    """What the strip shows, once `wanted` holds for it."""
    deadline = time.monotonic() + seconds
    while not wanted(now := shown(page, node)):
        assert time.monotonic() < deadline, now
        page.tab.wait_for_timeout(50)
    return now


def plan(page: ComfyPage, budget: float, node="8", **sampler) -> dict:
    """The server's own plan for node 8, asked without the page."""
    inputs = {"steps": STEPS, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **sampler}
    tree = {"type": "KSampler", "inputs": inputs | {"model": {"type": "UNETLoader", "inputs": {
        "unet_name": "strip_flux.safetensors"}}}}
    asked = {"settings": {"budget": budget, "policy": "uniform"}, "sampler": tree}
    return page.evaluate("(asked) => fetch('/recache/plan', { method: 'POST', body: JSON.stringify(asked) })"
                         ".then((answer) => answer.json())", asked)


def agrees(page: ComfyPage, budget: float, node="8", **sampler) -> dict:
    """Waits until the strip shows the server's plan."""
    told = plan(page, budget, **sampler)
    now = until(page, lambda now: now["computed"] == told["computed"] and "computed" in now["head"], node)
    assert sorted(now["computed"] + now["forecast"]) == list(range(told["n"]))
    assert now["head"] == f"{len(told['computed'])} of {told['n']} computed, planned {told['speedup']:.1f}x"
    assert now["head"] in now["spoken"] and ", ".join(map(str, told["computed"])) in now["spoken"]
    return now


def drag_slider(page: ComfyPage, renderer: str, node: int, moves: int) -> None:
    """Drags the budget's slider to the right with the mouse."""
    if renderer == "nodes2":
        thumb = page.tab.locator(f"[data-node-id='{node}'] [role=slider]").first.bounding_box()
        x, y = thumb["x"] + thumb["width"] / 2, thumb["y"] + thumb["height"] / 2
    else:
        x, y = page.evaluate(
            "(id) => { const node = app.graph.getNodeById(id), widget = node.widgets[0]; "
            "const [x, y] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + node.size[0] * 0.35, "
            "node.pos[1] + widget.y + 10]); const box = app.canvas.canvas.getBoundingClientRect(); "
            "return [x + box.x, y + box.y] }", node)
    page.tab.mouse.move(x, y)
    page.tab.mouse.down()
    for move in range(moves):
        page.tab.mouse.move(x + move, y)
    page.tab.mouse.up()


@RENDERERS
def test_the_strip_is_the_servers_plan_whatever_changes(page, renderer):
    page.load(WORKFLOW)
    assert agrees(page, 0.3)["notes"] == "Evenly spread."
    page.screenshot("strip-plan", 8)
    asked = []
    page.tab.on("request", lambda request: asked.append(request) if request.url.endswith("/recache/plan") else None)
    start = time.monotonic()
    drag_slider(page, renderer, 8, 40)
    seconds = time.monotonic() - start
    dragged = page.widget(8, "budget")
    assert dragged > 0.32
    agrees(page, dragged)
    assert 1 <= len(asked) <= 2 + seconds / 0.03
    before = len(asked)
    page.tab.wait_for_timeout(600)
    assert len(asked) <= before + 1  # nothing changes, nothing is asked: the one is this test's own

    page.set_widget(9, "steps", 14)
    agrees(page, dragged, steps=14)
    page.set_widget(9, "sampler_name", "heun")
    agrees(page, dragged, steps=14, sampler_name="heun")
    page.set_widget(9, "denoise", 0.5)
    agrees(page, dragged, steps=14, sampler_name="heun", denoise=0.5)
    page.undo()
    agrees(page, dragged, steps=14, sampler_name="heun")
    page.set_widget(8, "policy", "list")
    assert "list of evaluations is empty" in until(page, lambda now: "Nothing" in now["head"])["notes"]
    page.set_widget(8, "evaluations", "0-2, 9")
    assert until(page, lambda now: now["computed"] == [0, 1, 2, 9])["notes"] == "As listed."
    page.set_widget(8, "policy", "uniform")

    for mode, said in ((4, "Bypassed"), (2, "Muted")):
        page.evaluate("(mode) => { app.graph.getNodeById(8).mode = mode }", mode)
        assert until(page, lambda now, said=said: said in now["head"])["dim"]
    page.evaluate("() => { app.graph.getNodeById(8).mode = 0 }")
    assert not until(page, lambda now: "planned" in now["head"])["dim"]

    second = page.add("ReCacheBudget", 100, 700)
    assert until(page, lambda now: "Connect" in now["head"], second)["computed"] == []
    page.connect(8, "MODEL", second, "model")
    page.connect(second, "MODEL", 9, "model")
    page.set_widget(second, "policy", "uniform")
    page.set_widget(second, "budget", 0.5)
    agrees(page, 0.5, second, steps=14, sampler_name="heun")
    assert until(page, lambda now: "Another ReCache Budget" in now["head"])["dim"]

    saved = page.workflow()
    values = next(node for node in saved["nodes"] if node["id"] == 8)["widgets_values"]
    assert values == [pytest.approx(dragged), "uniform", "0-2, 9", "taylor", 1, "auto", "auto"]
    page.load(saved)
    assert page.widget(8, "policy") == "uniform" and page.widget(8, "cache_device") == "auto"
    agrees(page, 0.5, second, steps=14, sampler_name="heun")

    page.screenshot("strip-two", second)  # brings it into view, without which it has no focus
    strip = page.tab.locator(".recache-strip:not(.dim)")
    strip.locator("svg").press("Home")
    assert "evaluation 0 of" in strip.locator(".head").text_content()
    page.tab.keyboard.press("Escape")


WATCH = """() => {
  window.seen = [];
  const strip = app.graph.getNodeById(8).widgets.find((widget) => widget.name === 'schedule').element;
  const cells = (kind) => [...strip.querySelector('.' + kind).getAttribute('d').matchAll(/M(\\d+)/g)].length;
  new MutationObserver(() => window.seen.push([cells('was-computed'), cells('was-forecast')])).observe(
    strip, { subtree: true, attributes: true, attributeFilter: ['d'] });
}"""


@RENDERERS
@pytest.mark.parametrize("frontend", ["pinned"], indirect=True)
def test_cells_light_in_order_and_the_figures_stay(page, server, renderer):
    workflow = json.loads(json.dumps(WORKFLOW))
    steps = 8 if renderer == "classic" else 9  # a plan that no run had before
    workflow["9"]["inputs"]["steps"] = steps
    page.load(workflow)
    planned = agrees(page, 0.3, steps=steps)["computed"]
    page.evaluate(WATCH)
    page.queue()
    ran = until(page, lambda now: "measured" in now["result"])
    assert ran["was-computed"] == planned and len(ran["was-forecast"]) == steps - len(planned)
    made = [computed + forecast for computed, forecast in page.evaluate("() => window.seen")]
    assert made == sorted(made) and made[-1] == steps and len(set(made)) > steps // 2
    page.screenshot("strip-ran", 8)
    page.setting("Comfy.ColorPalette", "light")
    page.screenshot("strip-ran-light", 8)
    page.setting("Comfy.ColorPalette", "dark")
    assert page.evaluate("() => app.graph.getNodeById(8).widgets.every((widget) => !/preview/.test(widget.name))")

    page.reload()
    again = until(page, lambda now: "measured" in now["result"])
    assert again["result"] == ran["result"] and again["was-computed"] == planned
    page.set_widget(8, "budget", 0.6)  # another plan has no figures yet
    assert agrees(page, 0.6, steps=steps)["result"] == ""
    page.set_widget(8, "budget", 0.3)
    assert until(page, lambda now: now["result"])["result"] == ran["result"]
    assert not server.complaints()


@FRONTENDS
def test_a_subgraph_shows_the_runs_inside_it(page, frontend, request):
    running = request.getfixturevalue("newest_server" if frontend == "newest" else "server")
    shutil.copy(WEIGHTS / "flux.safetensors", running.models / "diffusion_models" / "strip_flux.safetensors")
    page.load(WORKFLOW)
    page.evaluate("() => { app.canvas.selectItems([8].map((id) => app.graph.getNodeById(id))); "
                  "return app.extensionManager.command.execute('Comfy.Graph.ConvertToSubgraph') }")
    page.note()
    outer = page.evaluate("() => app.rootGraph.nodes.find((node) => node.subgraph).id")
    inner = page.evaluate("(id) => app.rootGraph.getNodeById(id).subgraph.nodes[0].id", outer)
    node = f"{outer}:{inner}"
    planned = agrees(page, 0.3, node)["computed"]  # the sampler is outside
    page.screenshot(f"strip-subgraph-{frontend}")
    page.queue()
    assert until(page, lambda now: "measured" in now["result"], node)["was-computed"] == planned
    page.evaluate("(id) => { app.rootGraph.getNodeById(id).mode = 4 }", outer)
    assert until(page, lambda now: "Bypassed" in now["head"], node)["dim"]
