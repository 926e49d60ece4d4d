"""The help pages of the nodes, in ComfyUI's own help panel: complete, in every language, with their pictures."""

from __future__ import annotations

import json
import re

import pytest

from tests.hosting.languages import OWN_SCRIPT
from tests.hosting.server import PACK
from tests.hosting.session import ROOT

PAGES = ROOT / "web" / "docs"
ENGLISH = sorted(path.stem for path in PAGES.glob("*.md"))
PICTURE = re.compile(r"!\[([^\]]+)\]\(([^)]+)\)")


def text_of(node: str, language: str) -> str:
    """A help page; English is also what the panel shows in languages without a page of their own."""
    path = PAGES / f"{node}.md" if language == "en" else PAGES / node / f"{language}.md"
    return path.read_text(encoding="utf-8")


def test_every_node_has_pages_in_every_language_and_no_other(client):
    nodes = {name for name, node in client.object_info().items() if node["python_module"] == f"custom_nodes.{PACK}"}
    assert set(ENGLISH) == nodes
    translated = {path.relative_to(PAGES).as_posix() for path in PAGES.glob("*/*.md")}
    assert translated == {f"{node}/{language}.md" for node in nodes for language in OWN_SCRIPT}


@pytest.mark.parametrize("language", ["en", *OWN_SCRIPT])
@pytest.mark.parametrize("node", ENGLISH)
def test_a_page_tells_of_every_setting_and_shows_a_picture(node, language):
    text = text_of(node, language)
    words = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[node]
    assert text.startswith(f"# {words['display_name']}\n")
    for name, described in words["inputs"].items():
        label = re.escape(f"**{described['name']}**")
        assert re.search(rf"^- {label}", text, re.MULTILINE), f"{name} is missing"
    pictures = PICTURE.findall(text)
    assert pictures and [source for _, source in pictures] == [
        source for _, source in PICTURE.findall(text_of(node, "en"))]
    for alternative, source in pictures:
        assert alternative.strip()
        assert (PAGES / source).stat().st_size < 150_000


@pytest.fixture
def translated(page):
    """The page in Chinese; ComfyUI reads its nodes' words when it starts."""
    page.setting("Comfy.Locale", "zh")
    page.reload()
    yield page
    page.setting("Comfy.Locale", "en")
    page.reload()


def read_pages(page, language: str, nodes: list[str] = ENGLISH) -> None:
    """Opens pages as an artist does: select the node, press the info button above it."""
    for node in nodes:
        title = text_of(node, language).splitlines()[0].removeprefix("# ")
        page.evaluate("() => app.graph.clear()")
        page.add(node, 300, 250)
        assert page.evaluate("() => app.graph.nodes[0].title") == title
        page.evaluate("() => app.canvas.selectItems(app.graph.nodes)")
        page.tab.get_by_test_id("info-button").click()
        page.wait("(title) => document.querySelector('.node-help-content h1')?.textContent === title", title)
        page.wait("() => { const pictures = [...document.querySelectorAll('.node-help-content img')]; "
                  "return pictures.length && pictures.every((picture) => picture.naturalWidth > 0) }")
        page.screenshot(f"help-{node}-{language}")


def test_the_panel_shows_it(page):
    read_pages(page, "en")


def test_the_panel_shows_it_translated(translated):
    read_pages(translated, "zh", ENGLISH[::4])  # the others differ in words only
