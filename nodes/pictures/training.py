"""A training as a picture: the learning curve, quality against budget, and the schedules as strips."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image

from ..training.request import Outcome
from . import drawing
from .drawing import BACKGROUND, CACHED, COMPUTED, FEWER_STEPS, GRID, MARGIN, SMALL, UNCACHED, text_style

COLUMN = 620  # width of each half: so wide that the picture is legible on a node that has many inputs above it
PLOT_HEIGHT, ROW, LINE, NAMES = 260, 36, 28, 120  # heights; width of what stands left of bars and strips
BARS = 200  # width of the longest bar; its name and cost stand right of it
LABEL = text_style(SMALL)
COLOURS = {"learned": COMPUTED, "start": (120, 200, 130), "runner-up": (200, 170, 90), "default": UNCACHED,
           "fewer steps": FEWER_STEPS}


def curve_picture(curve: Sequence[tuple[int, float]], evaluations: int) -> Image.Image:
    """The gain over network evaluations, up to `evaluations`; gain 1 is at the top, 0 at the bottom."""
    image, draw = drawing.new_image(COLUMN, PLOT_HEIGHT)
    left, top, right, bottom = MARGIN + 70, MARGIN + 32, COLUMN - MARGIN, PLOT_HEIGHT - MARGIN - 28
    draw.text((MARGIN, MARGIN - 8), "error saved, compared with no policy", **LABEL)
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        draw.line((left, y, right, y), fill=GRID)
        draw.text((left - 10, y), f"{share:.0%}", anchor="rm", **LABEL)
    draw.text((right, bottom + 6), f"{evaluations:,} network evaluations", anchor="ra", **LABEL)
    points = [(left, bottom)]
    for spent, gain in [*curve, (evaluations, curve[-1][1] if curve else 0.0)]:
        x = left + (right - left) * spent / max(1, evaluations)
        points += [(x, points[-1][1]), (x, bottom - min(1.0, max(0.0, gain)) * (bottom - top))]
    draw.line(points, fill=COMPUTED, width=4)
    return image


def training_picture(outcome: Outcome) -> torch.Tensor:
    """Learning curve and schedules, and beside them the held-out costs: IMAGE [1, height, width, 3]."""
    curve, strips = curve_picture(outcome.learned.curve, outcome.learned.evaluations), _strips(outcome)
    costs = _frontier(outcome)
    whole = Image.new("RGB", (2 * COLUMN, max(curve.height + strips.height, costs.height)), BACKGROUND)
    for part, place in ((curve, (0, 0)), (strips, (0, curve.height)), (costs, (COLUMN, 0))):
        whole.paste(part, place)
    return drawing.to_image(whole)


def _frontier(outcome: Outcome) -> Image.Image:
    """Held-out cost of every candidate at every k, as bars."""
    table = outcome.table
    names = [name for name in COLOURS if any(name in row for row in table.values())]
    image, draw = drawing.new_image(COLUMN, MARGIN * 2 + 36 + len(table) * (len(names) * LINE + 14))
    title = f"{outcome.policy.about.reward} on other samples; lower is better"
    draw.text((MARGIN, MARGIN - 8), title, **LABEL)
    y = MARGIN + 32
    for k, row in table.items():
        longest = max(abs(cost) for cost in row.values()) or 1.0
        draw.text((MARGIN, y - 2), f"{k} of {outcome.n}", **LABEL)
        for name in (name for name in names if name in row):
            length = abs(row[name]) / longest * BARS
            draw.rectangle((MARGIN + NAMES, y, MARGIN + NAMES + length, y + LINE - 7), fill=COLOURS[name])
            draw.text((MARGIN + NAMES + 10 + length, y - 3), f"{name} {row[name]:.4g}", **LABEL)
            y += LINE
        y += 14
    return image


def _strips(outcome: Outcome) -> Image.Image:
    """The chosen schedule of every k."""
    schedules = outcome.learned.schedules
    image, draw = drawing.new_image(COLUMN, MARGIN * 2 + 36 + len(schedules) * ROW)
    draw.text((MARGIN, MARGIN - 8), "which steps are computed", **LABEL)
    cell = (COLUMN - 2 * MARGIN - NAMES) / outcome.n
    for row, (k, schedule) in enumerate(schedules.items()):
        y = MARGIN + 32 + row * ROW
        draw.text((MARGIN, y), f"{k}: {outcome.learned.winners[k]}"[:11], **LABEL)
        for i, computed in enumerate(schedule.computed):
            x = MARGIN + NAMES + i * cell
            draw.rectangle((x, y, x + max(1.0, cell - 2), y + ROW - 9), fill=COMPUTED if computed else CACHED)
    return image
