"""Draws ST-LPIPS against computed evaluations, a line for every way to spend them, from the figures of benchmarks.

``frontier FILE.json ... --model flux --picture docs/frontier-flux.png``; files of ``quality`` and ``training`` mix.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 900, 520, 90, 50, 230, 60
COLOURS = [(240, 150, 40), (90, 170, 240), (120, 200, 130), (200, 200, 205), (170, 110, 220), (230, 90, 90),
           (240, 210, 90), (90, 210, 210)]
BACKGROUND, TEXT, GRID = (28, 30, 36), (220, 224, 230), (62, 66, 76)


def lines(figures: list[dict], model: str) -> dict[str, dict[int, float]]:
    """{name of a line: {k: ST-LPIPS}}."""
    found: dict[str, dict[int, float]] = {}
    for figure in figures:
        cell = figure["cell"]
        if figure["name"] != "st_lpips" or cell.get("model") != model:
            continue
        if "method" in cell:
            name = f"{cell['mechanism']} {cell['order']}, {cell['method']}"
        elif cell["mechanism"] == "none":
            name = "fewer steps"
        elif cell["schedule"] == "threshold":
            name = cell["mechanism"]
        elif cell["cache_point"] == "blocks":
            name = f"{cell['mechanism']} {cell['order']}, {cell['schedule']}"
        else:
            continue
        found.setdefault(name, {})[int(cell["k"])] = figure["value"]
    return found


def draw(found: dict[str, dict[int, float]], title: str) -> Image.Image:
    """The picture; both axes are logarithmic."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=15)
    ks = sorted({k for line in found.values() for k in line})
    values = [value for line in found.values() for value in line.values()]
    low, high = math.log10(min(values)) - 0.1, math.log10(max(values)) + 0.1

    def place(k: int, value: float) -> tuple[float, float]:
        across = (math.log(k) - math.log(ks[0])) / (math.log(ks[-1]) - math.log(ks[0]) or 1.0)
        up = (math.log10(value) - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    pen.text((LEFT, 14), title, fill=TEXT, font=font)
    for power in range(math.ceil(low * 3), math.floor(high * 3) + 1):
        value = 10 ** (power / 3)
        y = place(ks[0], value)[1]
        pen.line((LEFT, y, WIDTH - RIGHT, y), fill=GRID)
        pen.text((12, y - 9), f"{value:.2g}", fill=TEXT, font=font)
    for k in ks:
        pen.text((place(k, 10**low)[0] - 8, HEIGHT - BOTTOM + 10), str(k), fill=TEXT, font=font)
    pen.text((LEFT, HEIGHT - 28), "computed evaluations", fill=TEXT, font=font)
    for i, (name, line) in enumerate(sorted(found.items(), key=lambda item: -item[1][min(item[1])])):
        colour = COLOURS[i % len(COLOURS)]
        points = [place(k, line[k]) for k in sorted(line)]
        if len(points) > 1:
            pen.line(points, fill=colour, width=3)
        for x, y in points:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
        pen.rectangle((WIDTH - RIGHT + 16, TOP + 24 * i, WIDTH - RIGHT + 30, TOP + 24 * i + 14), fill=colour)
        pen.text((WIDTH - RIGHT + 38, TOP + 24 * i - 3), name, fill=TEXT, font=font)
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--model", default="flux")
    parser.add_argument("--picture", type=Path, required=True)
    arguments = parser.parse_args()
    figures = [f for path in arguments.files for f in json.loads(path.read_text(encoding="utf-8"))["figures"]]
    draw(lines(figures, arguments.model), f"ST-LPIPS to the uncached output, {arguments.model} demo model").save(
        arguments.picture)


if __name__ == "__main__":
    main()
