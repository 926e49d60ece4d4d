"""docs/reliability.md: every command writes what it found between a pair of comments that bear its name."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def _section(name: str) -> re.Pattern:
    return re.compile(rf"(?<=<!-- {re.escape(name)} -->\n).*?(?=<!-- end {re.escape(name)} -->)", re.DOTALL)


def write_rows(name: str, rows: list[list], document: Path = DOCUMENT) -> None:
    """Replaces the rows of a section's table that begin like these, and adds new ones; the first is the heading."""
    lines = {line.split(" | ")[0]: line for line in table(rows).splitlines()[2:]}
    [before] = _section(name).findall(document.read_text(encoding="utf-8"))
    kept = [lines.pop(line.split(" | ")[0], line) for line in before.splitlines()]
    write_section(name, "\n".join([*kept, *lines.values()]), document)


def write_section(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Puts a text in the place of the section `name`, between ``<!-- name -->`` and ``<!-- end name -->``.

    Raises:
        ValueError: the document has no such section, or more than one.
    """
    before = document.read_text(encoding="utf-8")
    section = _section(name)
    if len(section.findall(before)) != 1:
        raise ValueError(f"{document.name} has no section {name!r}, or more than one")
    document.write_text(section.sub(lambda _: text.strip("\n") + "\n", before), encoding="utf-8")


def table(rows: list[list]) -> str:
    """Rows as a table of Markdown; the first is the heading."""
    lines = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])
