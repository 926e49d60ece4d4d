"""ReCache's strip on the real page: the plan as it changes, the run as it happens, and what stays."""

from __future__ import annotations

import json
import re
import shutil
import time

import pytest

from recache.nodes.pictures import drawing
from tests.hosting.browser import PAGES, RENDERERS, ComfyPage
from tests.hosting.plans import save_variants
from tests.hosting.server import emptied
from tests.hosting.session import ROOT
from tests.hosting.strip import SHOWN, STEPS, WATCH, WORKFLOW, agrees, shown, until
from tests.trained import WEIGHTS

pytestmark = pytest.mark.usefixtures("model")


@pytest.fixture
def model(page_server):
    shutil.copy(WEIGHTS / "flux.safetensors", page_server.models / "diffusion_models" / "strip_flux.safetensors")


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
def test_the_strip_says_what_a_budget_costs(page, renderer):
    page.load(WORKFLOW)
    page.set_widget(8, "mechanism", "auto")
    page.set_widget(9, "steps", 20)
    for budget, word in ((0.05, "Likely broken"), (0.2, "Maybe another picture"), (0.5, "Small details differ"),
                         (0.7, "The same picture")):
        page.set_widget(8, "budget", budget)
        steps = f"{round(20 * budget)} of 20"
        now = until(page, lambda now, word=word, steps=steps: now["quality"] == word and steps in now["head"])
        assert word in now["spoken"]
        page.screenshot(f"strip-quality-{budget:g}", 8)
    page.set_widget(8, "budget", 1.0)
    now = until(page, lambda now: "Unchanged" in now["head"])
    assert (now["quality"], now["bar"]) == ("", 0)
    before = page.widget(8, "budget")
    presets = ("Draft", "Maybe another picture"), ("Fast", "Small details differ"), ("Safe", "The same picture")
    for preset, word in presets:
        page.tab.locator(".recache-strip button", has_text=preset).click()
        until(page, lambda now, word=word: now["quality"] == word)
    assert 0.5 < page.widget(8, "budget") < before
    page.screenshot("strip-preset", 8)
    page.undo()
    assert until(page, lambda now: now["quality"] != "The same picture")
    page.set_widget(8, "policy", "list")
    page.set_widget(8, "evaluations", "0, 9")
    assert until(page, lambda now: now["computed"] == [0, 9])["quality"] == ""
    assert page.tab.locator(".recache-strip .presets button:disabled:visible").count() == 4


@RENDERERS
def test_the_strip_is_the_servers_plan_whatever_changes(page, renderer):
    page.load(WORKFLOW)
    assert agrees(page, 0.3)["notes"] == (
        "With taylor, 3 of 10 look worse than simply running 3 steps; set the mechanism to auto. Spread nearly evenly.")
    page.screenshot("strip-plan", 8)
    assert page.evaluate("() => { const notes = document.querySelector('.recache-strip .notes'); "
                         "return notes.scrollHeight <= notes.clientHeight }")  # read whole at the first size
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
    assert until(page, lambda now: now["computed"] == [0, 1, 2, 9])["notes"].startswith("As listed")
    page.set_widget(8, "policy", "uniform")

    for mode, said in ((4, "Bypassed"), (2, "Muted")):
        page.evaluate("(mode) => { app.graph.getNodeById(8).mode = mode }", mode)
        assert until(page, lambda now, said=said: said in now["head"])["dim"]
    page.evaluate("() => { app.graph.getNodeById(8).mode = 0 }")
    assert not until(page, lambda now: "faster" in now["head"])["dim"]

    second = page.add("ReCacheBudget", 100, 700)
    assert until(page, lambda now: "Connect" in now["head"], second)["computed"] == []
    page.connect(8, "MODEL", second, "model")
    page.connect(second, "MODEL", 9, "model")
    page.set_widget(second, "policy", "uniform")
    page.set_widget(second, "budget", 0.5)
    agrees(page, 0.5, second, steps=14, sampler_name="heun")
    assert until(page, lambda now: "Another ReCache node" in now["head"])["dim"]

    saved = page.workflow()
    values = next(node for node in saved["nodes"] if node["id"] == 8)["widgets_values"]
    assert values == [pytest.approx(dragged), "uniform", "0-2, 9", "taylor", 1, "auto", "auto"]
    page.load(saved)
    assert page.widget(8, "policy") == "uniform" and page.widget(8, "cache_device") == "auto"
    agrees(page, 0.5, second, steps=14, sampler_name="heun")

    page.screenshot("strip-two", second)  # brings it into view, without which it has no focus
    strip = page.tab.locator(".recache-strip:not(.dim)")
    strip.locator("svg").press("Home")
    assert "1 of 27: will be" in strip.locator(".head").text_content()
    page.tab.keyboard.press("Escape")


def test_auto_follows_guidance_and_size(page, page_server):
    variants = {"plain": {}, "guided": {"cfg": 4.0}, "small": {"size": [64, 64]}}
    with emptied(page_server.models / "recache") as folder:
        save_variants(folder, **variants)
        page.load(WORKFLOW)
        page.set_widget(9, "steps", 20)  # in shorter runs none of them is used
        page.set_widget(4, "width", 128)
        page.set_widget(4, "height", 128)
        page.set_widget(9, "cfg", 2.0)
        page.set_widget(8, "policy", "auto")
        until(page, lambda now: now["notes"].startswith("plain"))
        page.set_widget(9, "cfg", 5.0)
        until(page, lambda now: now["notes"].startswith("guided"))
        page.set_widget(9, "cfg", 2.0)
        page.set_widget(4, "width", 64)
        page.set_widget(4, "height", 64)
        until(page, lambda now: now["notes"].startswith("small"))
        (folder / "small.safetensors").unlink()
        page.evaluate("() => app.refreshComboInNodes()")  # R
        until(page, lambda now: now["notes"].startswith("plain"))


@RENDERERS
def test_cells_light_in_order_and_the_figures_stay(page, page_server, renderer):
    workflow = json.loads(json.dumps(WORKFLOW))
    steps = 8 if renderer == "classic" else 9  # a plan that no run had before
    workflow["9"]["inputs"]["steps"] = steps
    page.load(workflow)
    page.load(page.workflow())  # as a file of the page's own, with an id that stays
    planned = agrees(page, 0.3, steps=steps)["computed"]
    page.evaluate(WATCH)
    page.queue()
    ran = until(page, lambda now: "Measured" in now["result"])
    assert ran["was-computed"] == planned and len(ran["was-forecast"]) == steps - len(planned)
    made = [computed + forecast for computed, forecast in page.evaluate("() => window.seen")]
    assert made == sorted(made) and made[-1] == steps and len(set(made)) > steps // 2
    page.screenshot("strip-ran", 8)
    page.setting("Comfy.ColorPalette", "light")
    page.screenshot("strip-ran-light", 8)
    page.setting("Comfy.ColorPalette", "dark")
    assert page.evaluate("() => app.graph.getNodeById(8).widgets.every((widget) => !/preview/.test(widget.name))")

    page.reload()
    again = until(page, lambda now: "Measured" in now["result"])
    assert again["result"] == ran["result"] and again["was-computed"] == planned
    page.set_widget(8, "budget", 0.6)  # of another plan the time is expected, from what an evaluation took
    agrees(page, 0.6, steps=steps)
    until(page, lambda now: re.fullmatch(r"About [\d.]+ s instead of [\d.]+ s", now["result"]))
    page.screenshot("strip-expected", 8)
    page.set_widget(8, "budget", 1.0)
    until(page, lambda now: re.fullmatch(r"About [\d.]+ s", now["result"]))
    page.set_widget(8, "budget", 0.3)
    until(page, lambda now: now["result"] == ran["result"])
    assert not page_server.complaints()


@PAGES
def test_a_subgraph_shows_the_runs_inside_it(page, frontend):
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
    assert until(page, lambda now: "Measured" in now["result"], node)["was-computed"] == planned
    page.evaluate("(id) => { app.rootGraph.getNodeById(id).mode = 4 }", outer)
    assert until(page, lambda now: "Bypassed" in now["head"], node)["dim"]


@RENDERERS
def test_a_reload_in_the_middle_of_a_run(page, renderer):
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow["4"]["inputs"] |= {"width": 640, "height": 640}
    workflow["9"]["inputs"]["steps"] = steps = 30 if renderer == "classic" else 31
    page.load(workflow)
    page.load(page.workflow())  # as a file of the page's own, with an id that stays
    planned = agrees(page, 0.3, steps=steps)["computed"]
    page.start()
    until(page, lambda now: " done, " in now["head"])
    page.tab.reload(wait_until="domcontentloaded")
    page.wait("() => window.app?.extensionManager?.spinner === false && Boolean(window.app.canvas?.graph)")
    now = until(page, lambda now: "Measured" in now["result"])
    assert now["was-computed"] == planned and len(now["was-computed"] + now["was-forecast"]) == steps


def test_a_server_that_ended_in_the_middle_of_a_run_is_waited_for_no_more(page):
    page.load(WORKFLOW)
    before = until(page, lambda now: "faster" in now["head"])
    page.evaluate("""(workflow) => app.api.dispatchCustomEvent('recache.run', {
      workflow, node: '8', index: 0, computed: true, before: [], planned: [0, 3, 6], n: 10 })""", page.workflow()["id"])
    until(page, lambda now: now["head"] == "1 of 10 done, 1 computed")
    page.evaluate("() => app.api.dispatchCustomEvent('reconnected')")
    assert until(page, lambda now: "faster" in now["head"]) == before


def test_a_plan_that_is_not_answered_is_asked_for_again(page):
    page.load(WORKFLOW)
    until(page, lambda now: "3 of 10" in now["head"])
    page.tab.route("**/recache/plan", lambda route: route.abort())
    page.set_widget(8, "budget", 0.5)
    until(page, lambda now: now["head"] == "Waiting for the plan")
    page.tab.unroute("**/recache/plan")
    until(page, lambda now: "5 of 10" in now["head"])
    page.console.clear()  # the browser tells of the refused requests


@PAGES
def test_the_side_panel_has_no_row_for_the_strip(page, frontend):
    page.load(WORKFLOW)
    page.setting("Comfy.RightSidePanel.IsOpen", True)
    page.evaluate("() => app.canvas.selectItems([app.graph.getNodeById(8)])")
    panel = "document.querySelector('[data-testid=properties-panel]')?.innerText ?? ''"
    page.wait(f"() => {panel}.includes('budget')")
    page.screenshot(f"side-panel-{frontend}")
    assert "schedule" not in page.evaluate(f"() => {panel}")


def test_prompts_and_windows_that_change_in_the_middle_of_a_run_are_named(page):
    """Where they do is known as the run begins: until then the strip says that computed steps may move."""
    ranged = {"class_type": "ConditioningSetTimestepRange", "inputs": {"conditioning": ["2", 0], "start": 0.0,
                                                                       "end": 1.0}}
    windows = {"class_type": "ContextWindowsManual", "inputs": {
        "model": ["8", 0], "context_length": 16, "context_overlap": 4, "context_schedule": "standard_static",
        "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 0}}
    sampler = WORKFLOW["9"]["inputs"] | {"positive": ["3", 0], "model": ["5", 0]}
    page.load({**WORKFLOW, "3": ranged, "5": windows, "9": {"class_type": "KSampler", "inputs": sampler}})
    changing = "prompts, ControlNets or windows change in this run"
    assert changing not in agrees(page, 0.3)["notes"]
    page.set_widget(3, "end", 0.5)
    until(page, lambda now: changing in now["notes"])
    page.set_widget(3, "end", 1.0)
    until(page, lambda now: changing not in now["notes"])
    page.set_widget(5, "context_schedule", "standard_uniform")
    until(page, lambda now: changing in now["notes"])


def test_a_run_whose_computed_steps_were_moved_shows_its_figures(page):
    """Of two prompts in turn, the second has nothing to be forecast from where it begins."""
    workflow = json.loads(json.dumps(WORKFLOW))
    for key, start, end in (("11", 0.0, 0.5), ("12", 0.5, 1.0)):
        workflow[key] = {"class_type": "ConditioningSetTimestepRange", "inputs": {
            "conditioning": ["2", 0], "start": start, "end": end}}
    workflow["13"] = {"class_type": "ConditioningCombine", "inputs": {
        "conditioning_1": ["11", 0], "conditioning_2": ["12", 0]}}
    workflow["9"]["inputs"] |= {"positive": ["13", 0], "steps": 12}
    page.load(workflow)
    page.load(page.workflow())  # as a file of the page's own, with an id that stays
    planned = agrees(page, 0.3, steps=12)["computed"]
    page.queue()
    page.tab.wait_for_timeout(500)  # the next answer of the server knows the run
    ran = until(page, lambda now: "Measured" in now["result"])
    assert ran["was-computed"] != planned and len(ran["was-computed"]) == len(planned)


@PAGES
def test_slower_is_not_called_faster(page):
    page.load(WORKFLOW)
    agrees(page, 0.3)
    finished = {"planned": [0], "computed": [0], "evaluations": 10, "n": 10, "over": True, "finished": True,
                "notes": []}
    said = {}
    workflow = page.workflow()["id"]
    for speedup, saved in ((3.26, 12.3), (1.04, 0.2), (0.9, -1.0)):
        detail = {"workflow": workflow, "node": "8", "run": finished | {"speedup": speedup, "saved": saved}}
        said[speedup] = page.evaluate(  # in one call, since the next answer of the server knows no such run
            f"(detail) => {{ app.api.dispatchCustomEvent('recache.run', detail); return ({SHOWN})('8').result }}",
            detail)
    assert said == {3.26: "Measured 3.3x faster, 12 s saved", 1.04: "Measured: as fast as uncached",
                    0.9: "Measured 0.9x: slower than uncached"}
    elsewhere = {"workflow": None, "node": "8", "run": finished | {"speedup": 9.9, "saved": 9.9}}  # a script's
    page.evaluate("(detail) => app.api.dispatchCustomEvent('recache.run', detail)", elsewhere)
    assert "9.9" not in shown(page)["result"]
    page.set_widget(8, "budget", 1.0)
    until(page, lambda now: now["head"] == f"Unchanged: all {STEPS} computed")


@PAGES
def test_a_collapsed_node_has_the_speed_up_in_its_title(page):
    page.load(WORKFLOW)
    told = agrees(page, 0.3)["head"].split(" ")[0]
    title = "() => { const node = app.graph.getNodeById(8); node.collapse(); return node.getTitle() }"
    assert page.evaluate(title) == f"ReCache: {told}"
    page.screenshot("strip-collapsed", 8)
    assert page.evaluate(title) == "ReCache"
    assert next(node for node in page.workflow()["nodes"] if node["id"] == 8).get("title") in (None, "ReCache")


def test_the_strip_and_the_pictures_have_the_same_colours():
    css = (ROOT / "web" / "recache.css").read_text(encoding="utf-8")
    of_page = dict(re.findall(r"--recache-(\w+): #([0-9a-f]{6});", css))
    of_pictures = {"computed": drawing.COMPUTED, "forecast": drawing.CACHED, "warning": drawing.UNPLANNED}
    assert of_page == {name: bytes(colour).hex() for name, colour in of_pictures.items()}
