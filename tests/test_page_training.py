"""ReCache Train's panel on ComfyUI's real page, during real trainings of the trained FLUX demo model."""

from __future__ import annotations

import time

import pytest

from tests.hosting.browser import PAGES
from tests.hosting.prompts import install_models, training
from tests.hosting.server import emptied

PANEL = ".recache-training"
BUTTON = f"{PANEL} button"
SECONDS = 600.0  # that a training may take at most, on a busy machine

pytestmark = pytest.mark.usefixtures("models")


@pytest.fixture
def models(page_server):
    install_models(page_server.models)
    with emptied(page_server.models / "recache"):  # of what other tests save, and of what these do
        yield


def opened(page, seed: int) -> None:
    """The page with a training that goes on for minutes, or until somebody ends it."""
    queued = training(evaluations=5000, minutes=0.0, seed=seed, steps=16, cfg=1.0)  # too few to try all schedules
    del queued["6"]
    queued["4"]["inputs"] |= {"width": 64, "height": 64}
    page.load(queued)
    page.load(page.workflow())  # as a file of the page's own, with an id
    page.wait(f"() => document.querySelector('{PANEL}')")


def text(page, part: str) -> str:
    return page.evaluate("(selector) => document.querySelector(selector).textContent", f"{PANEL} {part}")


def newest(page, until=lambda state: True) -> dict:
    """The newest training as the server tells it, once `until(state)`."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        told = page.evaluate("() => fetch('/recache/training').then((answer) => answer.json())")["trainings"]
        if told and until(told[-1]):
            return told[-1]
        page.tab.wait_for_timeout(200)
    raise TimeoutError(f"The trainings are {told}.")


def learns(page) -> None:
    """Waits until the panel draws a curve."""
    page.wait(f"() => document.querySelector('{PANEL} .curve')?.getAttribute('d').includes('H')", seconds=SECONDS)


def has_ended(page) -> dict:
    """Waits until the panel shows how the newest training ended, and returns its state."""
    state = newest(page, lambda state: state["state"] != "running")
    page.wait("([selector, summary]) => document.querySelector(selector).textContent === summary",
              [f"{PANEL} .doing", state["summary"]])
    return state


def seen(page, name: str) -> None:
    """A picture of the panel in its node."""
    page.evaluate(
        "(selector) => { const node = app.canvas.graph.nodes.find((node) => node.type.startsWith('ReCacheTrain')); "
        "app.canvas.ds.scale = 1; app.canvas.ds.offset = [200 - node.pos[0], 800 - node.pos[1] - node.size[1]]; "
        "app.canvas.setDirty(true, true) }")
    page.settle()
    page.screenshot(name)


@PAGES
def test_a_training_is_watched_and_stopped_with_the_button(page, frontend):
    opened(page, seed=11)
    button = page.tab.locator(BUTTON)
    assert button.is_disabled() and text(page, ".gain") == "" and "is drawn here" in text(page, ".doing")
    seen(page, f"training-idle-{frontend}")
    page.start()
    learns(page)
    page.wait(f"() => document.querySelector('{BUTTON}').disabled === false")
    assert text(page, ".gain").endswith("less error than without a policy in training")
    newest(page, lambda state: page.tab.locator(f"{PANEL} li span:first-child").all_inner_texts() == [
        f"{k} of {n}" for k, n, _ in state["budgets"]])  # the panel may be an event behind the server
    assert page.tab.locator(f"{PANEL} svg").get_attribute("aria-label").startswith("Learning curve: ")
    assert "of 5,000 network evaluations" in text(page, ".doing")
    seen(page, f"training-running-{frontend}")
    button.click()
    state = has_ended(page)
    assert state["state"] == "done" and state["evaluations"] < 5000
    assert text(page, ".gain") == f"{round(100 * state['gain'])}% less error than without a policy in training"
    assert button.is_disabled() and text(page, ".spoken") == state["summary"]
    assert [f"{round(100 * gain)}%" for _, _, gain in state["budgets"]] == page.tab.locator(
        f"{PANEL} li span:last-child").all_inner_texts()
    seen(page, f"training-done-{frontend}")
    page.setting("Comfy.ColorPalette", "light")
    seen(page, f"training-light-{frontend}")


@pytest.mark.parametrize("renderer", ["nodes2"], indirect=True)
def test_in_a_subgraph_after_a_reload_and_with_the_keyboard(page):
    opened(page, seed=31)
    page.evaluate("() => app.graph.convertToSubgraph(new Set([app.graph.getNodeById(5)]))")
    page.load(page.workflow())
    outer = page.evaluate("() => app.graph.nodes.find((node) => node.subgraph).id")
    inside = f"() => app.canvas.setGraph(app.graph.getNodeById({outer}).subgraph)"
    page.start()
    running = newest(page, lambda state: state["state"] == "running")
    assert running["node"] == f"{outer}:5"
    page.evaluate(inside)
    learns(page)
    page.reload()
    page.evaluate(inside)
    learns(page)
    assert page.complaints() == []
    page.tab.locator(BUTTON).focus()
    page.tab.keyboard.press("Enter")
    page.wait(f"() => document.querySelector('{BUTTON}').disabled")
    assert has_ended(page)["state"] == "done"
    page.reload()
    page.evaluate(inside)
    page.wait(f"() => document.querySelector('{PANEL} .gain')?.textContent")
    assert has_ended(page)["state"] == "done" and page.tab.locator(BUTTON).is_disabled()


def test_what_the_panel_adds_is_not_saved_or_sent(page):
    opened(page, seed=1)
    widgets = page.evaluate("() => app.graph.getNodeById(5).widgets.map(({ name }) => name)")
    assert widgets[-2:] == ["training", "preview"] and not {"training", "preview"} & set(page.prompt()["5"]["inputs"])
    saved = next(node for node in page.workflow()["nodes"] if node["id"] == 5)
    assert len(saved["widgets_values"]) == len(widgets) - 2 and None not in saved["widgets_values"]


def test_a_training_of_another_workflow_is_not_shown(page):
    opened(page, seed=51)
    page.start()
    learns(page)
    opened(page, seed=52)
    assert page.tab.locator(BUTTON).is_disabled() and text(page, ".gain") == ""
    page.evaluate("() => fetch('/interrupt', { method: 'POST' })")
    page.until_idle(SECONDS)
    assert newest(page, lambda state: state["state"] != "running")["state"] == "cancelled"
    assert text(page, ".gain") == ""


@PAGES
def test_a_saved_policy_is_said_and_listed_at_once(page):
    workflow = training(evaluations=100, budgets="0.35", seed=71)
    workflow["4"]["inputs"] |= {"width": 64, "height": 64}
    workflow["6"]["inputs"]["name"] = "at-once/mine"
    page.load(workflow)
    budget = page.add("ReCacheBudget", 100, 900)
    file = "at-once/mine.safetensors"
    lists = f"() => app.graph.getNodeById({budget}).widgets.find(({{ name }}) => name === 'policy').options.values"
    assert file not in page.evaluate(lists)
    page.queue(SECONDS)
    page.message(f"The policy '{file}' was saved in models/recache")
    page.wait(f"() => ({lists})().includes('{file}')")
    assert page.widget(budget, "policy") == "auto"


def test_a_saved_policy_that_takes_the_place_of_another_says_so(page):
    opened(page, seed=81)
    saved = {"file": "new.safetensors", "instead_of": "demo-flux-taylor1", "id": "1"}
    page.evaluate("(saved) => window.app.api.dispatchCustomEvent('executed', "
                  "{ node: '6', display_node: '6', output: { recache_saved: [saved] }, prompt_id: '1' })", saved)
    page.message("'auto' uses 'new.safetensors' in place of 'demo-flux-taylor1'")
