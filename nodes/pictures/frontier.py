"""The quality/time curve as a picture: the curve with its knee, and below it the result of every budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageDraw

from ..training.describe import pace, summary
from ..training.quality_curve import Curve, Point
from .drawing import (
    BACKGROUND,
    COMPUTED,
    FAINT,
    FEWER_STEPS,
    GRID,
    MARGIN,
    NORMAL,
    SMALL,
    TEXT,
    TITLE,
    UNCACHED,
    new_image,
    text_style,
    to_image,
    to_picture,
)

WIDTH = 1200  # at least; a node shows the picture at about half its size
LEFT, TOP, PLOT, AXIS = 100, 96, 320, 84  # left of the plot; above it; its height; below it
COLUMN, GAP, LINE = 190, 14, 28  # width of a column; between two; height of a line
BEYOND = 3.0  # the plot ends at this multiple of the curve's largest difference; points beyond are marked at its edge


def frontier_picture(curve: Curve) -> torch.Tensor:
    """IMAGE [1, height, width, 3]."""
    width = max(WIDTH, 2 * MARGIN + (len(curve.cached) + 1) * COLUMN)
    headings = [f"{budget:g}" + (" knee" if budget == curve.knee else "") for budget in curve.cached]
    parts = [_plot(curve, width),
             _row(COMPUTED, [*headings, "uncached"], [*curve.cached.values(), curve.uncached], curve, width)]
    if curve.fewer:
        parts.append(_row(FEWER_STEPS, (), [*curve.fewer.values()], curve, width))
    whole = Image.new("RGB", (width, sum(part.height for part in parts)), BACKGROUND)
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height
    return to_image(whole)


def _plot(curve: Curve, width: int) -> Image.Image:
    """The curve; closer to the uncached pictures is further up."""
    image, draw = new_image(width, TOP + PLOT + AXIS)
    draw.text((MARGIN, MARGIN - 6), summary(curve), **text_style(TITLE))
    stand_in = ", which stands in for LPIPS," if curve.metric.missing else ""
    draw.text((MARGIN, MARGIN + 34), f"{curve.metric.name}{stand_in} to the uncached run: further up is closer",
              **text_style(SMALL, FAINT))
    span = width - LEFT - 3 * MARGIN
    farthest = max(point.figures.difference for point in curve.cached.values()) or 1.0
    beyond = max([farthest, *(point.figures.difference for point in curve.fewer.values())])
    deepest = 1.12 * min(BEYOND * farthest, beyond)
    slowest = max(point.seconds for point in curve.cached.values())
    longest = 1.02 * max(1.1 * slowest,  # leaves room for the budget, which is written to the right of its point
                         *(point.seconds for point in (curve.uncached, *curve.fewer.values())))

    def place(point: Point) -> tuple[float, float]:
        return point.seconds / longest * span, 8 + point.figures.difference / deepest * (PLOT - 8)

    area, pen = new_image(span + 2 * MARGIN, PLOT)  # a separate picture, so that lines are clipped at its edges
    for tick in _ticks(deepest):
        y = 8 + tick / deepest * (PLOT - 8)
        pen.line((0, y, span, y), fill=GRID)
        draw.text((LEFT - 10, TOP + y), f"{tick:g}", anchor="rm", **text_style(SMALL))
    for tick in _ticks(longest):
        x = tick / longest * span
        pen.line((x, 0, x, PLOT), fill=GRID)
        draw.text((LEFT + x, TOP + PLOT + 6), f"{tick:g} s", anchor="ma", **text_style(SMALL))
    _curves(pen, curve, place)
    image.paste(area, (LEFT, TOP))
    left, y = MARGIN, TOP + PLOT + 46
    for colour, name in ((COMPUTED, "ReCache, by budget"), (FEWER_STEPS, "fewer steps, no cache")):
        if colour == COMPUTED or curve.fewer:
            draw.rectangle((left, y + 6, left + 20, y + 26), fill=colour)
            draw.text((left + 30, y), name, **text_style(NORMAL))
            left += 330
    return image


def _curves(pen: ImageDraw.ImageDraw, curve: Curve, place: Callable[[Point], tuple[float, float]]) -> None:
    cached, fewer = [place(p) for p in curve.cached.values()], [place(p) for p in curve.fewer.values()]
    _dashed(pen, cached[0], place(curve.uncached))
    _line(pen, fewer, FEWER_STEPS)
    _line(pen, [*cached, place(curve.uncached)], COMPUTED)
    for x, y in fewer:
        if y > PLOT:  # an arrow to where it is
            pen.polygon([(x - 8, PLOT - 16), (x + 8, PLOT - 16), (x, PLOT - 3)], fill=FEWER_STEPS)
    x, y = place(curve.uncached)
    _dot(pen, (x, y), UNCACHED)
    _label(pen, (x - 10, y + 26), "uncached", UNCACHED, "ra")
    for budget, (x, y) in zip(curve.cached, cached):
        if budget == curve.knee:
            pen.ellipse((x - 14, y - 14, x + 14, y + 14), outline=TEXT, width=3)
            _label(pen, (x + 16, y + 38), f"{budget:g} knee", TEXT)  # below those of its neighbours
        else:
            _label(pen, (x + 16, y + 8), f"{budget:g}", COMPUTED)


def _line(pen: ImageDraw.ImageDraw, places: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    if len(places) > 1:
        pen.line(places, fill=colour, width=4, joint="curve")
    for place in places:
        _dot(pen, place, colour)


def _dot(pen: ImageDraw.ImageDraw, place: tuple[float, float], colour: tuple[int, int, int]) -> None:
    x, y = place
    pen.ellipse((x - 7, y - 7, x + 7, y + 7), fill=colour)


def _label(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: tuple[int, int, int],
           anchor: str = "la") -> None:
    """Text on a background, so that no line crosses it."""
    pen.rectangle(pen.textbbox(place, text, anchor=anchor, font=text_style(NORMAL)["font"]), fill=BACKGROUND)
    pen.text(place, text, anchor=anchor, **text_style(NORMAL, colour))


def _dashed(pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    pieces = max(1, int(math.dist(start, end) / 6))
    for i in range(0, pieces, 2):
        pen.line([tuple(a + (b - a) * j / pieces for a, b in zip(start, end)) for j in (i, i + 1)], fill=FAINT)


def _ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 up to `top`."""
    step = 10.0 ** math.floor(math.log10(top))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if top / s < 6)
    return [round(i * step, 12) for i in range(int(top / step) + 1)]


def _row(colour: tuple[int, int, int], headings: Sequence[str], points: Sequence[Point], curve: Curve,
         width: int) -> Image.Image:
    """A column for each point: its heading, its picture and its figures."""
    column = (width - 2 * MARGIN) / (len(curve.cached) + 1)
    side = min(int(column), COLUMN + 60) - GAP
    thumbnails = [None if point.picture is None else to_picture(point.picture, (side, side)) for point in points]
    head, tall = LINE + 8 if headings else 0, max((t.height + 6 for t in thumbnails if t), default=0)
    image, draw = new_image(width, MARGIN + head + tall + 2 * LINE + 4)
    for i, (point, thumbnail) in enumerate(zip(points, thumbnails)):
        x, y = MARGIN + i * column, MARGIN
        chosen = point is curve.cached.get(curve.knee)
        if headings:
            tint = TEXT if chosen else UNCACHED if point is curve.uncached else colour
            draw.text((x, y - 4), headings[i], **text_style(NORMAL, tint))
        y += head
        if thumbnail is not None:
            image.paste(thumbnail, (int(x), y))
            if chosen:
                draw.rectangle((int(x) - 3, y - 3, int(x) + thumbnail.width + 2, y + thumbnail.height + 2),
                               outline=TEXT, width=3)
            y += tall
        lines = [f"{point.seconds:.3g} s, {point.computed} of {curve.evaluations}"]
        if point is not curve.uncached:
            lines.insert(0, pace(curve, point))
        for j, line in enumerate(lines):
            draw.text((x, y + j * LINE), line, **text_style(SMALL, colour if j == 0 and not headings else TEXT))
    return image
