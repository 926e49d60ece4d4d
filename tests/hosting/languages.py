"""The languages that the pack speaks, and its words in each."""

from __future__ import annotations

import json

from tests.hosting.session import ROOT

LANGUAGES = ("en", "zh", "ja", "ko")
OWN_SCRIPT = {"zh": "[\u4e00-\u9fff]", "ja": "[\u3040-\u30ff]", "ko": "[\uac00-\ud7a3]"}


def words(language: str, file: str) -> dict:
    """A file of locales/."""
    return json.loads((ROOT / "locales" / language / f"{file}.json").read_text(encoding="utf-8"))


def flat(tree: dict, before: str = "") -> dict[str, str]:
    """``{"a": {"b": "text"}}`` as ``{"a.b": "text"}``."""
    found = {}
    for key, value in tree.items():
        found |= flat(value, f"{before}{key}.") if isinstance(value, dict) else {before + key: value}
    return found
