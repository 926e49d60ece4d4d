"""The schedule of a run as a picture."""

from __future__ import annotations

import torch

from ...caching import Report
from ..server.wording import summary, text
from .drawing import CACHED, COMPUTED, MARGIN, UNPLANNED, WIDTH, drawable, new_image, text_style, to_image

HEIGHT = 150


def schedule_picture(report: Report, language: str = "en") -> torch.Tensor:
    """A strip of one cell per evaluation, with a line of text and a legend: IMAGE [1, height, width, 3].

    Numbers replace words that the font can't draw; they are in the report's text.
    """
    image, draw = new_image(WIDTH, HEIGHT)
    unplanned = {index for index, _ in report.unplanned}
    computed = set(report.computed)
    gist = summary(report, language)[:110]
    if not drawable(gist):
        gist = f"{len(computed)}/{report.evaluations}"
    draw.text((MARGIN, MARGIN - 4), gist, **text_style(17))
    forecast = set(range(report.evaluations)) - computed
    cell = (WIDTH - 2 * MARGIN) / max(1, report.evaluations)
    gap = 2 if cell > 6 else 0
    for i in range(report.evaluations):
        colour = UNPLANNED if i in unplanned else COMPUTED if i in computed else CACHED
        left = MARGIN + i * cell
        draw.rectangle((left, 44, left + max(1.0, cell - gap), 104), fill=colour)
    legend = MARGIN
    for kind, colour, cells in (("computed", COMPUTED, computed - unplanned), ("forecast", CACHED, forecast),
                                ("unplanned", UNPLANNED, unplanned)):
        draw.rectangle((legend, 120, legend + 14, 134), fill=colour)
        name = text(f"report.cells_{kind}", language)
        draw.text((legend + 20, 116), f"{len(cells)} {name}" if drawable(name) else str(len(cells)), **text_style(17))
        legend += 160
    return to_image(image)
