"""The schedule of a run as a picture."""

from __future__ import annotations

import torch

from ...caching import Report
from ..server.wording import summary
from .drawing import CACHED, COMPUTED, MARGIN, UNPLANNED, WIDTH, new_image, text_style, to_image

HEIGHT = 150


def schedule_picture(report: Report) -> torch.Tensor:
    """A strip of one cell per evaluation, filled where computed, with a line of text: IMAGE [1, height, width, 3]."""
    image, draw = new_image(WIDTH, HEIGHT)
    draw.text((MARGIN, MARGIN - 4), summary(report)[:110], **text_style(17))
    unplanned = {index for index, _ in report.unplanned}
    computed = set(report.computed)
    cell = (WIDTH - 2 * MARGIN) / max(1, report.evaluations)
    gap = 2 if cell > 6 else 0
    for i in range(report.evaluations):
        colour = UNPLANNED if i in unplanned else COMPUTED if i in computed else CACHED
        left = MARGIN + i * cell
        draw.rectangle((left, 44, left + max(1.0, cell - gap), 104), fill=colour)
    legend = MARGIN
    for colour, name in ((COMPUTED, "computed"), (CACHED, "forecast"), (UNPLANNED, "unplanned")):
        draw.rectangle((legend, 120, legend + 14, 134), fill=colour)
        draw.text((legend + 20, 116), name, **text_style(17))
        legend += 130
    return to_image(image)
