"""ReCache's strip however it is looked at: zoomed, on a narrow node, and in another language."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from tests.hosting.browser import RENDERERS, ComfyPage
from tests.hosting.languages import OWN_SCRIPT, words
from tests.hosting.strip import STEPS, WORKFLOW, until
from tests.trained import WEIGHTS

pytestmark = pytest.mark.usefixtures("model")
# What an artist can read, as text: the labels, and where each begins and ends beside the strip itself.
SEEN = """() => {
  const strip = document.querySelector('.recache-strip'), { left, right, width } = strip.getBoundingClientRect();
  const texts = ['.head', '.quality span', '.result', '.notes', '.legend'].map((name) => strip.querySelector(name));
  return {
    text: [...strip.querySelectorAll('button, .legend span'), ...texts].map((part) => part.innerText),
    inside: [...strip.querySelectorAll('*')].map((part) => part.getBoundingClientRect()).every(
      (part) => !part.width || (part.left >= left - 1 && part.right <= right + 1)),
    width, head: strip.querySelector('.head').innerText,
  };
}"""


@pytest.fixture
def model(page_server):
    shutil.copy(WEIGHTS / "flux.safetensors", page_server.models / "diffusion_models" / "strip_flux.safetensors")


def open_plan(page: ComfyPage) -> None:
    """The strip's workflow with nothing chosen by hand, as a file of the page's own."""
    workflow = json.loads(json.dumps(WORKFLOW))
    workflow["8"]["inputs"]["mechanism"] = "auto"
    page.load(workflow)
    page.load(page.workflow())
    until(page, lambda now: now["computed"])


@RENDERERS
def test_zoomed_cells_are_pressed_where_they_are_seen(page, renderer):
    open_plan(page)
    expected = {0, 3, 6}
    assert until(page, lambda now: now["computed"])["computed"] == sorted(expected)
    for zoom, cell in ((0.6, 4), (1.7, 8)):
        page.screenshot(f"strip-zoom-{zoom:g}", 8, zoom)
        box = page.tab.locator(".recache-strip svg").bounding_box()
        page.tab.mouse.click(box["x"] + (cell + 0.4) * box["width"] / STEPS, box["y"] + box["height"] / 2)
        page.tab.mouse.move(5, 880)
        expected.add(cell)
        until(page, lambda now: now["computed"] == sorted(expected))
    assert page.widget(8, "policy") == "list"


@RENDERERS
def test_a_narrow_node_says_the_speed_up_first_and_nothing_sticks_out(page, renderer):
    open_plan(page)
    page.evaluate("() => { const node = app.graph.getNodeById(8); node.setSize([210, node.size[1]]) }")
    page.screenshot("strip-narrow", 8)
    seen = page.evaluate(SEEN)
    assert 120 < seen["width"] < 260 and seen["inside"]
    assert re.match(r"\d\.\dx faster", seen["head"])


@pytest.fixture
def english_afterwards(page):
    yield
    page.setting("Comfy.Locale", "en")


@RENDERERS
@pytest.mark.usefixtures("english_afterwards")
def test_another_language_without_loading_the_page_again(page, renderer):
    open_plan(page)
    page.queue()
    until(page, lambda now: "Measured" in now["result"])
    for language in OWN_SCRIPT:
        page.setting("Comfy.Locale", language)
        fast = words(language, "main")["recache"]["strip"]["preset_fast"]
        page.wait("(word) => [...document.querySelectorAll('.recache-strip button')].some((button) => "
                  "button.innerText === word)", fast)
        page.screenshot(f"strip-{language}", 8)
        text = [part for part in page.evaluate(SEEN)["text"] if part]
        assert len(text) > 8 and not any(re.search("[a-z]{3}", part) for part in text), text
    page.set_widget(9, "seed", 2)
    page.queue()
    page.wait("(script) => new RegExp(script).test(document.querySelector('.recache-result').innerText)",
              OWN_SCRIPT[language])
    page.screenshot(f"report-{language}", 10)
