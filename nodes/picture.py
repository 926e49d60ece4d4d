"""The schedule of a run as a picture."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..caching import Report

WIDTH, HEIGHT, MARGIN = 960, 150, 16
COMPUTED, CACHED, UNPLANNED = (240, 150, 40), (70, 78, 92), (220, 60, 60)
BACKGROUND, TEXT = (28, 30, 36), (220, 224, 230)


def schedule_picture(report: Report) -> torch.Tensor:
    """A strip of one cell per evaluation, filled where computed, with a line of text: IMAGE [1, height, width, 3]."""
    image = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size=17)
    draw.text((MARGIN, MARGIN - 4), report.summary[:110], fill=TEXT, font=font)
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
        draw.text((legend + 20, 116), name, fill=TEXT, font=font)
        legend += 130
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255.0)[None]
