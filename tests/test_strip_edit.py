"""Changing the plan on ReCache's strip: cells are pressed, and a time is asked for."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.hosting.browser import RENDERERS, ComfyPage
from tests.hosting.strip import STEPS, WORKFLOW, shown, until
from tests.trained import WEIGHTS

pytestmark = pytest.mark.usefixtures("model")
SAMPLING = {"workflow": "", "node": "8", "index": 0, "computed": True, "planned": [0, 3, 6], "n": STEPS}


@pytest.fixture
def model(page_server):
    shutil.copy(WEIGHTS / "flux.safetensors", page_server.models / "diffusion_models" / "strip_flux.safetensors")


def open_plan(page: ComfyPage, budget: float = 0.3) -> dict:
    """The strip's workflow with nothing chosen by hand; its plan."""
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow["8"]["inputs"] |= {"budget": budget, "mechanism": "auto"}
    page.load(workflow)
    page.load(page.workflow())  # as a file of the page's own, with an id that stays
    page.screenshot("strip-edit", 8)  # brings it into view
    return until(page, lambda now: now["computed"])


def press(page: ComfyPage, cell: int, n: int = STEPS) -> None:
    """Presses a cell with the mouse, and takes that away."""
    strip = page.tab.locator(".recache-strip svg")
    box = strip.bounding_box()
    strip.click(position={"x": (cell + 0.4) * box["width"] / n, "y": box["height"] / 2})
    page.tab.mouse.move(700, 880)


def state(page: ComfyPage) -> list:
    return [page.widget(8, "policy"), page.widget(8, "evaluations")]


def undo(page: ComfyPage) -> None:
    """Ctrl-Z, with nothing focused."""
    page.evaluate("() => document.activeElement.blur()")
    page.tab.keyboard.press("Control+z")
    page.settle()


@RENDERERS
def test_pressed_cells_become_a_list(page, renderer):
    open_plan(page)
    page.set_widget(9, "steps", 20)
    planned = [0, 3, 7, 10, 14, 18]
    page.set_widget(8, "budget", 0.35)
    page.set_widget(8, "budget", 0.3)
    until(page, lambda now: now["computed"] == planned and now["quality"] == "Maybe another picture")
    press(page, 5, 20)
    now = until(page, lambda now: now["notes"].startswith("As listed"))
    assert now["computed"] == sorted([*planned, 5]) and now["head"].endswith("7 of 20 computed")
    assert state(page) == ["list", "0, 3, 5, 7, 10, 14, 18"]
    assert now["quality"] == ""  # others of 7 have shorter gaps
    undo(page)
    until(page, lambda now: now["computed"] == planned and now["quality"] == "Maybe another picture")
    assert state(page) == ["uniform", ""] and page.widget(8, "budget") == 0.3

    for cell in (5, 12, 16):
        press(page, cell, 20)
    now = until(page, lambda now: now["quality"] == "Small details differ")
    assert now["computed"] == sorted([*planned, 5, 12, 16])
    page.screenshot("strip-listed", 8)
    press(page, 18, 20)
    until(page, lambda now: now["computed"][-1] == 16 and now["quality"] == "")
    for cell in (1, 2):
        press(page, cell, 20)
    assert state(page) == ["list", "0-3, 5, 7, 10, 12, 14, 16"]


@RENDERERS
def test_cells_are_pressed_by_keys_and_the_first_one_stays(page, renderer):
    planned = open_plan(page)["computed"]
    strip = page.tab.locator(".recache-strip svg")
    strip.focus()
    title = strip.locator("title")
    for key in ("Home", "Enter"):
        page.tab.keyboard.press(key)
    assert state(page) == ["uniform", ""] and "nothing to forecast it from" in title.text_content()
    page.tab.keyboard.press("ArrowRight")
    assert "Press to change" in title.text_content()
    page.tab.keyboard.press(" ")
    until(page, lambda now: now["computed"] == sorted({*planned} ^ {1}) and "As listed" in now["notes"])
    assert page.tab.locator(".recache-strip .head").text_content().startswith(f"2 of {STEPS}: will be computed")
    page.tab.keyboard.press("Enter")
    until(page, lambda now: now["computed"] == planned and "2 of" in now["head"])
    undo(page)
    until(page, lambda now: now["computed"] == sorted({*planned} ^ {1}))


@RENDERERS
def test_nothing_is_pressed_while_a_run_is_in_progress_or_another_node_decides(page, renderer):
    open_plan(page)
    page.connect(page.add("ReCacheFrontier", 100, 900), 1, 8, "budget")
    until(page, lambda now: "comes from another node" in now["notes"])
    assert page.tab.locator(".recache-strip .presets button:disabled:visible").count() == 4
    page.evaluate("(detail) => app.api.dispatchCustomEvent('recache.run', detail)",
                  SAMPLING | {"workflow": page.workflow()["id"]})
    assert "1 of" in shown(page)["head"]
    press(page, 1)
    page.settle()
    assert state(page) == ["uniform", ""]


@RENDERERS
def test_a_time_is_asked_for(page, renderer):
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow["9"]["inputs"]["steps"] = 20 if renderer == "classic" else 21  # a run that the server did not make before
    page.load(workflow)
    page.load(page.workflow())
    page.screenshot("strip-edit", 8)
    time = page.tab.locator(".recache-strip button.result")
    until(page, lambda now: now["computed"])
    assert time.is_disabled()
    page.queue()
    until(page, lambda now: "Measured" in now["result"])
    page.set_widget(8, "budget", 0.5)
    said = until(page, lambda now: "instead of" in now["result"])["result"]
    uncached = float(re.search(r"instead of ([\d.]+) s", said)[1])
    for share, budget in ((0.726, 0.72), (3.0, 1.0), (0.01, 0.05), (0.31, 0.31)):
        wanted = share * uncached
        time.click()
        page.screenshot("strip-seconds", 8)
        page.tab.keyboard.type(f"{wanted:.5f}")
        page.tab.keyboard.press("Enter")
        rounding = 0.06 / uncached  # of the figure that is shown
        assert page.widget(8, "budget") == pytest.approx(budget, abs=0.01 + share * rounding)
        assert page.tab.locator(".recache-strip .seconds").is_hidden()
        now = until(page, lambda now, beyond=share < 0.05: now["result"].startswith("Not in") == beyond)
        page.screenshot(f"strip-within-{budget:g}", 8)
        assert "about" in now["result"].lower() or "Measured" in now["result"]
    undo(page)
    assert page.widget(8, "budget") == 0.05
    page.set_widget(8, "budget", 0.06)
    until(page, lambda now: now["result"].startswith("About"))  # no longer what was asked for
    time.click()
    page.tab.keyboard.type("9")
    page.tab.keyboard.press("Escape")
    assert page.widget(8, "budget") == 0.06 and time.is_visible()
