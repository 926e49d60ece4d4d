"""The figures of a benchmark: a table for people and a JSON file for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured number.

    Attributes:
        name: what was measured, like ``speedup_over_ideal``.
        value: None where it could not be measured.
        unit: like ``s`` or ``bytes``; ``1`` for a ratio.
        cell: for which case, like ``{"mechanism": "taylor", "k": 9}``; all figures of one name have the same keys.
    """

    name: str
    value: float | None
    unit: str
    cell: Mapping[str, Any]


def table(figures: Iterable[Figure]) -> str:
    """The figures as aligned text: a row for each cell, a column for each name, a part for each kind of cell."""
    parts: dict[tuple[str, ...], dict[tuple, dict[str, str]]] = {}
    for figure in figures:
        rows = parts.setdefault(tuple(figure.cell), {})
        heading = figure.name if figure.unit == "1" else f"{figure.name} [{figure.unit}]"
        rows.setdefault(tuple(map(str, figure.cell.values())), {})[heading] = _text(figure.value)
    return "\n\n".join(_part(keys, rows) for keys, rows in parts.items())


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _part(keys: tuple[str, ...], rows: dict[tuple, dict[str, str]]) -> str:
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [(*keys, *names), *((*cell, *(row.get(name, "") for name in names)) for cell, row in rows.items())]
    widths = [max(map(len, column)) for column in zip(*lines)]
    aligned = [
        "  ".join(text.ljust(width) if i < len(keys) else text.rjust(width)
                  for i, (text, width) in enumerate(zip(line, widths))).rstrip()
        for line in lines
    ]
    return "\n".join([aligned[0], "  ".join("-" * width for width in widths), *aligned[1:]])


def publish(figures: Iterable[Figure], path: str | Path | None = None) -> None:
    """Prints the table and, where a path is given, writes ``{"figures": [{name, value, unit, cell}, ...]}`` there.

    Where measuring is interrupted or fails, what came before is published.
    """
    found: list[Figure] = []
    try:
        found.extend(figures)
    finally:
        print(table(found))
        if path is not None:
            text = json.dumps({"figures": [asdict(figure) for figure in found]}, indent=1)
            Path(path).write_text(text + "\n", encoding="utf-8")
            print(f"\nwritten to {path}")
