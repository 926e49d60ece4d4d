"""The pack's words in every language, through ComfyUI's own folder for them (locales/), are complete and in step."""

from __future__ import annotations

import difflib
import json
import re

import folder_paths
import pytest

from recache import caching
from recache.caching import CODES, Reason
from recache.nodes.server import wording
from tests.hosting.languages import LANGUAGES, OWN_SCRIPT, flat, words
from tests.hosting.server import PACK
from tests.hosting.session import ROOT

MESSAGE_SYNTAX = re.compile(r"[{}@|]")  # the page would read these as placeholders, links and plurals


def english(node: dict) -> dict:
    """What nodeDefs.json says of a node of ``/object_info``, in English."""
    inputs = {}
    for kind in ("required", "optional"):
        for name, (_, *options) in node["input"].get(kind, {}).items():
            inputs[name] = {"name": name, "tooltip": options[0].get("tooltip") if options else None}
    outputs = {}
    for i, (name, kind, tooltip) in enumerate(zip(node["output_name"], node["output"], node["output_tooltips"])):
        # The page names an output by its type where both are called the same.
        outputs[str(i)] = ({} if name == kind else {"name": name}) | {"tooltip": tooltip}
    described = {"display_name": node["display_name"], "description": node["description"], "inputs": inputs}
    return described | ({"outputs": outputs} if outputs else {})


@pytest.fixture(scope="module")
def nodes(server) -> dict[str, dict]:
    """The pack's nodes, as the server describes them."""
    from tests.hosting.client import Client

    with Client(server.url) as client:
        known = client.object_info()
    return {name: node for name, node in sorted(known.items()) if node["python_module"] == f"custom_nodes.{PACK}"}


def test_english_is_what_the_nodes_say(nodes):
    expected = json.dumps({name: english(node) for name, node in nodes.items()}, indent=2, ensure_ascii=False)
    path = ROOT / "locales" / "en" / "nodeDefs.json"
    changes = [line for line in difflib.ndiff(path.read_text(encoding="utf-8").splitlines(), expected.splitlines())
               if line[0] in "+-"]
    assert not changes, f"Bring {path} in step, and the same entries of zh, ja and ko:\n" + "\n".join(changes)


@pytest.mark.parametrize("language", OWN_SCRIPT)
def test_every_node_and_input_is_translated_and_nothing_else(language):
    expected, translated = flat(words("en", "nodeDefs")), flat(words(language, "nodeDefs"))
    assert translated.keys() == expected.keys()
    for key, text in translated.items():
        if key.endswith((".tooltip", ".description")):
            assert re.search(OWN_SCRIPT[language], text), f"{language}: {key} is not translated"


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_can_show_the_nodes_words(language):
    for key, text in flat(words(language, "nodeDefs")).items():
        assert text.strip() == text != "", key
        assert not MESSAGE_SYNTAX.search(text), f"{language}: {key}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_types_and_categories_have_names(nodes, language):
    main = words(language, "main")
    types = {kind for node in nodes.values() for kind in node["output"]}
    assert main["dataTypes"].keys() == {kind for kind in types if kind.startswith("RECACHE_")}
    assert main["nodeCategories"].keys() == {node["category"].split("/")[-1] for node in nodes.values()}


@pytest.mark.parametrize("language", OWN_SCRIPT)
def test_the_pages_sentences_are_translated_with_the_same_placeholders(language):
    expected, translated = flat(words("en", "main")["recache"]), flat(words(language, "main")["recache"])
    assert translated.keys() == expected.keys()
    for key, text in expected.items():
        assert sorted(re.findall(r"\{\w+\}", translated[key])) == sorted(re.findall(r"\{\w+\}", text)), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_reason_has_words_with_its_fields(language):
    sentences = words(language, "main")["recache"]["reasons"]
    assert sentences.keys() == CODES.keys()
    for code, fields in CODES.items():
        assert sorted(set(re.findall(r"\{(\w+)\}", sentences[code]))) == sorted(fields), code


def test_reasons_are_worded_with_reasons_inside_and_evaluations_counted_from_1():
    because = Reason("blocks_failed", {"error": "{x}"})
    assert wording.reason_text(Reason("dicache_needs_blocks", {"because": because})) == (
        "DiCache works on the model's blocks, which can't be used here. Its blocks can't be called one by one ({x}). "
        "Choose another mechanism; this run was left uncached.")
    assert "at evaluation 4," in wording.reason_text(Reason("left_plan", {"index": 3}))
    differs = [Reason("differs_cfg", {"cfg": "4"}), Reason("differs_size", {"size": "64x64"})]
    carried = Reason("policy_carried", {"name": "mine", "differs": differs})
    assert "(cfg 4, size 64x64)" in wording.reason_text(carried)
    assert "尺寸 64x64" in wording.reason_text(carried, "zh")


def test_a_report_is_in_the_language_that_comfyui_is_set_to(monkeypatch, tmp_path):
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))
    monkeypatch.setattr(wording.PageLanguage, "current", "")
    assert wording.language() == "en"
    wording.PageLanguage.current = "ja"
    assert wording.language() == "ja"
    settings = tmp_path / "default" / "comfy.settings.json"
    settings.parent.mkdir()
    for content, expected in (('{"Comfy.Locale": "ko"}', "ko"), ('{"Comfy.Locale": "../en"}', "en"), ("[]", "ja"),
                              ("{", "ja"), ('{"Comfy.Locale": ["zh"]}', "en"), ('{"Comfy.Locale": null}', "ja")):
        settings.write_text(content)
        assert wording.language() == expected
    report = caching.Report("taylor", 1, evaluations=4, planned=[0, 2], computed=[0, 2], seconds=[1.0] * 4)
    assert wording.summary(report, "ko").startswith("4회 중 2회 계산")


def test_the_pages_sentences_are_those_that_its_code_shows():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "web").rglob("*.js"))
    of_server = ("report", "compare", "frontier", "trained")
    known = flat({key: part for key, part in words("en", "main")["recache"].items() if key not in of_server}).keys()
    assert set(re.findall(r'\bt\(\s*"([^"]+)"', code)) <= known
    made = tuple(re.findall(r"`([\w.]+)\$\{", code))  # the prefixes of keys that the code puts together
    assert not [key for key in known if f'"{key}"' not in code and not key.startswith(made)]


def test_the_server_gives_them_all_out(server):
    from tests.hosting.client import Client

    with Client(server.url) as client:
        served = client.get("/i18n")
    for language in LANGUAGES:
        assert served[language] == words(language, "main") | {"nodeDefs": words(language, "nodeDefs")}
