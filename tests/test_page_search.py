"""ComfyUI's node search lists the node that an artist wants first, whatever they call it."""

from __future__ import annotations

import pytest

from tests.hosting.browser import FRONTENDS, ComfyPage

ID_SHOWN = "Comfy.NodeSearchBoxImpl.ShowIdName"


@pytest.fixture
def search(page: ComfyPage):
    """Types words into the search box, and returns the ids of the nodes that it lists."""
    page.setting(ID_SHOWN, True)
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    box = page.tab.get_by_role("dialog").locator("input").first

    def listed(words: str) -> list[str]:
        box.fill(words)
        page.settle()
        return page.tab.get_by_test_id("node-id-badge").all_inner_texts()

    yield listed
    page.tab.keyboard.press("Escape")
    page.setting(ID_SHOWN, False)


@FRONTENDS
def test_whatever_the_artist_calls_it_the_main_node_is_the_packs_first(page, client, search, frontend):
    names = client.object_info()["ReCacheBudget"]["search_aliases"]
    found = {name: [node for node in search(name) if node.startswith("ReCache")][:2] for name in names}
    # Where names hold the word, the page goes by their length, and by nothing that a pack can set: Train is shorter.
    in_names = {name: found.pop(name) for name in ("recache", "cache")}
    assert all(sorted(first) == ["ReCacheBudget", "ReCacheTrain"] for first in in_names.values()), in_names
    assert {name: first for name, first in found.items() if first[0] != "ReCacheBudget"} == {}
    page.screenshot(f"search-{frontend}")


@pytest.mark.parametrize("words, node", [
    ("psnr", "ReCacheCompare"), ("pareto", "ReCacheFrontier"), ("time saved", "ReCacheReport"),
    ("calibrate", "ReCacheTrain"), ("share policy", "ReCacheSavePolicy"), ("more prompts", "ReCacheTrainingPrompt")])
def test_the_other_nodes_are_found_by_what_they_are_for(search, words, node):
    assert search(words)[0] == node
