"""The Markdown table of docs/few-steps.md, "What is learned, and rivals", from what ``bench few_steps --json`` wrote.

``nox -s bench -- methods_table FILE...``: ST-LPIPS with half of its 95% interval; bold where the learned schedule is
better beyond the interval of the paired difference, marked with "(better)" where it is worse beyond it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

ROWS = ("fewer steps", "fewer steps, the best other sampler", "default", "MeanCache", "L2P", "dp", "otcache",
        "annealing", "EasyCache", "learned")
BY_MECHANISM = {"meancache": "MeanCache", "l2p": "L2P"}


def row_of(cell: dict) -> str:
    """The row that a method of bench few_steps stands in."""
    if cell["schedule"] == "fewer steps":
        return ROWS[0] if cell["mechanism"] == cell["sampler"] else ROWS[1]
    if cell["schedule"] == "default":
        return BY_MECHANISM.get(cell["mechanism"].split()[0], "default")
    return cell["schedule"]


def columns(paths: list[Path]) -> dict[tuple, dict[str, dict]]:
    """{(model, k, n): {row: {"mechanism", "computed" and figures by name}}}"""
    found: dict[tuple, dict[str, dict]] = {}
    for path in paths:
        for figure in json.loads(path.read_text(encoding="utf-8"))["figures"]:
            cell = figure["cell"]
            column = found.setdefault((cell["model"], cell["k"], cell["n"]), {})
            if figure["name"] == "st_lpips" or row_of(cell) in column:
                column.setdefault(row_of(cell), dict(cell))[figure["name"]] = figure["value"]
    return found


def text(row: dict | None) -> str:
    """One cell of the table."""
    if row is None:
        return "-"
    value = f"{row['st_lpips']:.5f} ± {row['ci95']:.5f}"
    more, interval = row.get("more_than_learned", 0.0), row.get("more_than_learned_ci95", 0.0)
    return f"**{value}**" if more > interval else f"{value} (better)" if -more > interval else value


def lines(found: dict[tuple, dict[str, dict]]) -> Iterator[str]:
    """Of the table, and one for each learned schedule."""
    yield "| | " + " | ".join(f"{model}, {k} of {n}" for model, k, n in found) + " |"
    yield "| --- " * (len(found) + 1) + "|"
    for row in ROWS:
        yield f"| {row} | " + " | ".join(text(column.get(row)) for column in found.values()) + " |"
    yield ""
    for (model, k, n), column in found.items():
        if "learned" in column:
            yield f"{model}, {k} of {n}: {column['learned']['mechanism']}, {column['learned']['computed']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    print("\n".join(lines(columns(parser.parse_args().files))))


if __name__ == "__main__":
    main()
