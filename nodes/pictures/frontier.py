"""The quality/time curve as a picture: the curve with its knee, and below it the result of every budget."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Sequence

import torch
from PIL import Image, ImageDraw

from ..training.quality_curve import Curve, Point
from .drawing import (
    BACKGROUND,
    COMPUTED,
    FAINT,
    FEWER_STEPS,
    GRID,
    MARGIN,
    TEXT,
    UNCACHED,
    WIDTH,
    new_image,
    text_style,
    to_image,
    to_picture,
)

LEFT, TOP, PLOT, AXIS = 116, 78, 320, 54  # left of the plot; above it; its height; below it
COLUMN, PICTURE_COLUMN, GAP, LINE = 190, 270, 14, 22  # widths of a column without and with pictures
BEYOND = 3.0  # the plot ends at this multiple of the curve's largest difference; points beyond are marked at its edge


def frontier_picture(curve: Curve) -> torch.Tensor:
    """IMAGE [1, height, width, 3]."""
    column = COLUMN if curve.uncached.picture is None else PICTURE_COLUMN
    width = max(WIDTH, LEFT + (len(curve.cached) + 1) * column + MARGIN)
    headings = [f"budget {budget:g}" + (": the knee" if budget == curve.knee else "") for budget in curve.cached]
    rows = [_row("ReCache", COMPUTED, [*headings, "uncached"], [*curve.cached.values(), curve.uncached], curve, width)]
    if curve.fewer:
        rows.append(_row("fewer steps", FEWER_STEPS, (), [*curve.fewer.values()], curve, width))
    parts = [_plot(curve, width), *rows, _notes(curve, width)]
    whole = Image.new("RGB", (width, sum(part.height for part in parts)), BACKGROUND)
    y = 0
    for part in parts:
        whole.paste(part, (0, y))
        y += part.height
    return to_image(whole)


def _plot(curve: Curve, width: int) -> Image.Image:
    """The curve; closer to the uncached pictures is further up."""
    image, draw = new_image(width, TOP + PLOT + AXIS)
    _title(draw, curve)
    span = width - LEFT - 3 * MARGIN
    farthest = max(point.figures.difference for point in curve.cached.values()) or 1.0
    beyond = max([farthest, *(point.figures.difference for point in curve.fewer.values())])
    deepest = 1.12 * min(BEYOND * farthest, beyond)
    longest = 1.02 * max(point.seconds for point in (curve.uncached, *curve.cached.values(), *curve.fewer.values()))

    def place(point: Point) -> tuple[float, float]:
        return point.seconds / longest * span, 8 + point.figures.difference / deepest * (PLOT - 8)

    area, pen = new_image(span + 2 * MARGIN, PLOT)  # a separate picture, so that lines are clipped at its edges
    for tick in _ticks(deepest):
        y = 8 + tick / deepest * (PLOT - 8)
        pen.line((0, y, span, y), fill=GRID)
        draw.text((LEFT - 8, TOP + y), f"{tick:g}", anchor="rm", **text_style(15))
    for tick in _ticks(longest):
        x = tick / longest * span
        pen.line((x, 0, x, PLOT), fill=GRID)
        draw.text((LEFT + x, TOP + PLOT + 6), f"{tick:g} s", anchor="ma", **text_style(15))
    _curves(pen, curve, place)
    image.paste(area, (LEFT, TOP))
    _legend(draw, curve, width)
    return image


def _title(draw: ImageDraw.ImageDraw, curve: Curve) -> None:
    if curve.knee is None:
        title = "No knee: here, quality falls as fast as time"
    else:
        point = curve.cached[curve.knee]
        title = (f"Knee at budget {curve.knee:g}: {curve.speedup(point):.1f}x faster, {point.seconds:.3g} s instead of "
                 f"{curve.uncached.seconds:.3g} s")
    stand_in = ", which stands in for LPIPS," if curve.metric.notes else ""
    draw.text((MARGIN, MARGIN - 4), title, **text_style(22))
    draw.text((MARGIN, MARGIN + 26), f"{curve.metric.name}{stand_in} to the uncached run: further up is closer",
              **text_style(16, FAINT))


def _curves(pen: ImageDraw.ImageDraw, curve: Curve, place: Callable[[Point], tuple[float, float]]) -> None:
    cached, fewer = [place(p) for p in curve.cached.values()], [place(p) for p in curve.fewer.values()]
    _dashed(pen, cached[0], place(curve.uncached))
    _line(pen, fewer, FEWER_STEPS)
    _line(pen, [*cached, place(curve.uncached)], COMPUTED)
    for x, y in fewer:
        if y > PLOT:  # an arrow to where it is
            pen.polygon([(x - 6, PLOT - 12), (x + 6, PLOT - 12), (x, PLOT - 2)], fill=FEWER_STEPS)
    x, y = place(curve.uncached)
    _dot(pen, (x, y), UNCACHED)
    _label(pen, (x - 10, y + 26), "uncached", UNCACHED, "ra")
    for budget, (x, y) in zip(curve.cached, cached):
        name, colour = f"{budget:g}", COMPUTED
        if budget == curve.knee:
            name, colour = f"{budget:g} knee", TEXT
            pen.ellipse((x - 11, y - 11, x + 11, y + 11), outline=TEXT, width=3)
        _label(pen, (x + 13, y + 6), name, colour)


def _legend(draw: ImageDraw.ImageDraw, curve: Curve, width: int) -> None:
    left = LEFT
    for colour, name in ((COMPUTED, "ReCache at each budget"), (FEWER_STEPS, "fewer steps, no cache")):
        if colour == COMPUTED or curve.fewer:
            draw.rectangle((left, TOP + PLOT + 31, left + 13, TOP + PLOT + 44), fill=colour)
            draw.text((left + 20, TOP + PLOT + 28), name, **text_style(16))
            left += 220
    draw.text((width - MARGIN, TOP + PLOT + 28), "time of sampling", anchor="ra", **text_style(16, FAINT))


def _line(pen: ImageDraw.ImageDraw, places: Sequence[tuple[float, float]], colour: tuple[int, int, int]) -> None:
    if len(places) > 1:
        pen.line(places, fill=colour, width=3, joint="curve")
    for place in places:
        _dot(pen, place, colour)


def _dot(pen: ImageDraw.ImageDraw, place: tuple[float, float], colour: tuple[int, int, int]) -> None:
    x, y = place
    pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)


def _label(pen: ImageDraw.ImageDraw, place: tuple[float, float], text: str, colour: tuple[int, int, int],
           anchor: str = "la") -> None:
    """Text on a background, so that no line crosses it."""
    pen.rectangle(pen.textbbox(place, text, anchor=anchor, font=text_style(16)["font"]), fill=BACKGROUND)
    pen.text(place, text, anchor=anchor, **text_style(16, colour))


def _dashed(pen: ImageDraw.ImageDraw, start: tuple[float, float], end: tuple[float, float]) -> None:
    pieces = max(1, int(math.dist(start, end) / 6))
    for i in range(0, pieces, 2):
        pen.line([tuple(a + (b - a) * j / pieces for a, b in zip(start, end)) for j in (i, i + 1)], fill=FAINT)


def _ticks(top: float) -> list[float]:
    """Three to six round numbers from 0 up to `top`."""
    step = 10.0 ** math.floor(math.log10(top))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if top / s < 6)
    return [round(i * step, 12) for i in range(int(top / step) + 1)]


def _row(name: str, colour: tuple[int, int, int], headings: Sequence[str], points: Sequence[Point], curve: Curve,
         width: int) -> Image.Image:
    """A column for each point: its heading, its picture and its figures."""
    column = (width - LEFT - MARGIN) / (len(curve.cached) + 1)
    side = min(int(column), PICTURE_COLUMN) - GAP
    thumbnails = [None if point.picture is None else to_picture(point.picture, (side, side)) for point in points]
    head, tall = LINE + 6 if headings else 0, max((t.height + 8 for t in thumbnails if t), default=0)
    image, draw = new_image(width, MARGIN + head + tall + 3 * LINE)
    draw.text((MARGIN, MARGIN + head), name, **text_style(16, colour))
    for i, (point, thumbnail) in enumerate(zip(points, thumbnails)):
        x, y = LEFT + i * column, MARGIN
        chosen = point is curve.cached.get(curve.knee)
        if headings:
            draw.text((x, y), headings[i], **text_style(17, TEXT if chosen else colour))
        y += head
        if thumbnail is not None:
            image.paste(thumbnail, (int(x), y))
            if chosen:
                draw.rectangle((int(x) - 3, y - 3, int(x) + thumbnail.width + 2, y + thumbnail.height + 2),
                               outline=TEXT, width=3)
            y += tall
        lines = [f"{point.seconds:.3g} s", f"{point.computed} of {curve.evaluations} computed"]
        if point is not curve.uncached:
            lines[0] += f", {curve.speedup(point):.1f}x faster"
            lines.append(f"{curve.metric.name} {point.figures.difference:.4f}")
        for j, line in enumerate(lines):
            draw.text((x, y + j * LINE), line, **text_style(16))
    return image


def _notes(curve: Curve, width: int) -> Image.Image:
    """The mechanism, the definition of the knee, and the notes."""
    report = curve.report
    order = f" of order {report.order}" if report.order else ""
    lines = [f"{report.mechanism}{order}, cached at {report.cache_point}.",
             "Knee: the budget that lies farthest from the dashed line, both axes scaled to 0..1 (Kneedle, Satopaa et "
             "al. 2011); the cost is counted in computed evaluations.",
             *curve.notes]
    wrapped = [part for line in lines for part in textwrap.wrap(line, width // 8)]
    image, draw = new_image(width, MARGIN * 2 + len(wrapped) * LINE)
    for i, line in enumerate(wrapped):
        draw.text((MARGIN, MARGIN + i * LINE), line, **text_style(14, FAINT))
    return image
