"""The schedule of a run as a picture."""

from __future__ import annotations

import textwrap

import torch
from PIL import ImageDraw

from ...caching import Report
from ..server.wording import summary, text
from .drawing import (
    CACHED,
    COMPUTED,
    MARGIN,
    NORMAL,
    TITLE,
    UNPLANNED,
    WIDTH,
    drawable,
    new_image,
    text_style,
    to_image,
)

LINE, LETTERS, STRIP, LEGEND = 38, 60, 170, 50  # height of a line of text, letters in it; heights of the rest


def schedule_picture(report: Report | None, language: str = "en") -> torch.Tensor:
    """A strip of one cell per evaluation, with words above it and a legend: IMAGE [1, height, width, 3].

    Numbers replace words that the font can't draw; they are in the report's text. None: the words alone.
    """
    gist = summary(report, language)
    if not drawable(gist):
        gist = "?" if report is None else f"{len(report.computed)}/{report.evaluations}"
    lines = textwrap.wrap(gist, LETTERS, max_lines=3, placeholder=" ...")
    top = MARGIN + len(lines) * LINE
    image, draw = new_image(WIDTH, top + STRIP + LEGEND + 2 * MARGIN)
    for i, line in enumerate(lines):
        draw.text((MARGIN, MARGIN - 4 + i * LINE), line, **text_style(TITLE))
    if report is not None:
        _strip(draw, report, top, language)
    return to_image(image)


def _strip(draw: ImageDraw.ImageDraw, report: Report, top: int, language: str) -> None:
    """The cells and, below them, what their colours mean."""
    unplanned = {index for index, _ in report.unplanned}
    computed = set(report.computed)
    forecast = set(range(report.evaluations)) - computed
    cell = (WIDTH - 2 * MARGIN) / max(1, report.evaluations)
    gap = 2 if cell > 6 else 0
    for i in range(report.evaluations):
        colour = UNPLANNED if i in unplanned else COMPUTED if i in computed else CACHED
        left = MARGIN + i * cell
        draw.rectangle((left, top, left + max(1.0, cell - gap), top + STRIP), fill=colour)
    left, y = MARGIN, top + STRIP + MARGIN
    for kind, colour, cells in (("computed", COMPUTED, computed - unplanned), ("forecast", CACHED, forecast),
                                ("unplanned", UNPLANNED, unplanned)):
        draw.rectangle((left, y + 5, left + 22, y + 27), fill=colour)
        name = text(f"report.cells_{kind}", language)
        draw.text((left + 32, y), f"{len(cells)} {name}" if drawable(name) else str(len(cells)), **text_style(NORMAL))
        left += 260
