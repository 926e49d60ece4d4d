"""ReCache in the page's search for nodes: it is the first one for its name and for every alias.

The page ranks by how an id or a display name matches, then by how often a node is used, which ComfyUI counts. A node of
ComfyUI's own whose name is the alias, or that is used more often, stays before the pack's.
"""

from __future__ import annotations

import pytest

from tests.hosting.browser import FRONTENDS, RENDERERS, ComfyPage

HOSTS_OWN = {"cache": ["EasyCache", "LazyCache"], "easycache": ["EasyCache", "LazyCache"],
             "lazycache": ["LazyCache", "EasyCache"]}
TYPED = ("recache", "recache budget", "budget")
FOUND = """(query) => {
  const found = [...document.querySelectorAll('[role=option]')].map((line) => line.innerText.split('\\n')[0].trim());
  return document.activeElement.value === query && found.includes('ReCache') && found;
}"""


def search(page: ComfyPage, query: str) -> list[str]:
    """The names that the open search lists for a query, once ReCache is among them."""
    page.tab.keyboard.press("Control+a")
    page.tab.keyboard.insert_text(query)
    return page.wait(FOUND, query)


@FRONTENDS
@RENDERERS
def test_recache_is_first_for_its_name_and_every_alias(page):
    aliases = page.evaluate("() => fetch('/object_info/ReCacheBudget').then((answer) => answer.json())"
                            ".then(({ ReCacheBudget }) => ReCacheBudget.search_aliases)")
    assert len(aliases) > 20
    page.tab.mouse.dblclick(700, 500)
    page.tab.get_by_role("option").first.wait_for()
    first = {}
    for query in (*TYPED, *aliases):
        found = search(page, query)
        first[query] = found[:1 + len(HOSTS_OWN.get(query, []))]
    page.screenshot("search")
    assert first == {query: [*HOSTS_OWN.get(query, []), "ReCache"] for query in first}


@pytest.mark.parametrize("language", ["zh", "ja", "ko"])
def test_recache_is_first_in_other_languages(page, language):
    page.setting("Comfy.Locale", language)
    try:
        page.tab.mouse.dblclick(700, 500)
        page.tab.get_by_role("option").first.wait_for()
        for query in ("recache", "teacache"):
            assert search(page, query)[0] == "ReCache"
    finally:
        page.setting("Comfy.Locale", "en")
