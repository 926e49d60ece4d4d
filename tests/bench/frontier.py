"""Draws ST-LPIPS against computed evaluations, a line for every way to spend them, from the figures of benchmarks.

``frontier FILE.json ... --model flux --picture docs/images/flux.png``; files of ``quality``, ``training`` and
``few_steps`` mix. Bars are 95% intervals.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot

from tests.bench.methods_table import row_of

TITLES = {"flux": "FLUX demo model", "wan": "Wan demo model", "flux_8_steps": "FLUX demo model, distilled to 8 steps"}

# Those of nodes/pictures/drawing.py, and one for each way to spend evaluations; other ways share the last.
BACKGROUND, TEXT, FAINT, GRID, COMPUTED = "#1c1e24", "#dce0e6", "#969ca8", "#3e424c", "#f09628"
COLOURS = {
    "learned": COMPUTED, "fewer steps": "#aa6edc", "default": "#96c8ff", "uniform": TEXT, "dp": "#78c882",
    "annealing": "#5aaaf0", "EasyCache": "#50beb4", "LazyCache": FAINT, "DiCache, probe": "#eb78aa",
    "best other sampler": "#7850a0", "L2P": "#a08c50", "MeanCache": "#c86450", "": "#e6d25a"}
SAME = {"ci95": "st_lpips_ci95"}  # few_steps' name of a figure

Line = dict[int, tuple[float, float]]


def name_of(cell: dict) -> str:
    """What a cell's line is called."""
    if "sampler" in cell:  # of few_steps
        return row_of(cell)
    if cell["mechanism"] == "none":
        return "fewer steps"
    if cell.get("schedule") == "threshold":
        return cell["mechanism"]
    order = f" {cell['order']}" if cell["mechanism"] in ("taylor", "hermite") else ""
    return f"{cell['mechanism']}{order}, {cell.get('method') or cell['schedule']}"


def lines(figures: list[dict], model: str, n: int) -> dict[str, Line]:
    """{name of a line: {k: (ST-LPIPS, half of its 95% interval)}}, the worst line first."""
    values: dict[str, dict[str, dict[int, float]]] = {"st_lpips": {}, "st_lpips_ci95": {}}
    for figure in figures:
        cell, name = figure["cell"], SAME.get(figure["name"], figure["name"])
        if name in values and cell.get("model") == model and cell["n"] == n:
            values[name].setdefault(name_of(cell), {})[int(cell["k"])] = figure["value"]
    found = {name: {k: (value, values["st_lpips_ci95"][name][k]) for k, value in sorted(line.items())}
             for name, line in values["st_lpips"].items()}
    return dict(sorted(found.items(), key=lambda item: -next(iter(item[1].values()))[0]))


def draw(found: dict[str, Line], title: str, path: Path) -> None:
    """Write the picture; both axes are logarithmic."""
    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained", facecolor=BACKGROUND)
    axes.set_facecolor(BACKGROUND)
    ks = sorted({k for line in found.values() for k in line})
    for i, (name, line) in enumerate(found.items()):
        means, halves = zip(*line.values())
        below = [min(half, 0.7 * mean) for mean, half in line.values()]  # an interval may reach below zero
        shifted = [k * 1.006 ** (i - len(found) / 2) for k in line]  # so that bars stand side by side
        colour = next(colour for ending, colour in COLOURS.items() if name.endswith(ending))
        axes.errorbar(shifted, means, yerr=(below, halves), label=name, marker="o", markersize=5, capsize=2,
                      color=colour, linewidth=3.5 if colour == COMPUTED else 1.5)
    axes.set(xscale="log", yscale="log", title=title, xlabel="computed evaluations",
             ylabel="ST-LPIPS to the uncached output (lower is better)")
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.minorticks_off()
    axes.grid(color=GRID)
    for text in (axes.title, axes.xaxis.label, axes.yaxis.label):
        text.set_color(TEXT)
    axes.tick_params(which="both", colors=TEXT)
    axes.spines[:].set_color(GRID)
    figure.legend(loc="outside right upper", frameon=False, labelcolor=TEXT)
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", default="flux")
    parser.add_argument("--steps", type=int, default=50, help="evaluations of the uncached runs")
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    figures = [f for path in arguments.files for f in json.loads(path.read_text(encoding="utf-8"))["figures"]]
    found = lines(figures, arguments.model, arguments.steps)
    draw(found, f"{TITLES.get(arguments.model, arguments.model)}, {arguments.steps} evaluations", arguments.picture)


if __name__ == "__main__":
    main()
