"""Untrusted text, as it may be shown."""

from __future__ import annotations

from typing import Any

_MAX_LINE = 200


def one_line(text: Any) -> str:
    """Untrusted text as a line of at most 200 printable characters; empty for anything but text."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 3] + "..."
