"""Cached and uncached pictures side by side, with a heat map of their difference."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .drawing import (
    COMPUTED,
    FAINT,
    MARGIN,
    NORMAL,
    SMALL,
    TITLE,
    UNCACHED,
    new_image,
    text_style,
    to_image,
    to_picture,
)

BOX = 400  # the longer side of a picture
MIN_COLUMN = 290  # width, so that the words fit
HEADING, CAPTION, LEGEND, LINE = 38, 46, 50, 40
HEAT = torch.tensor([(12, 12, 20), (72, 24, 110), (190, 50, 90), (245, 140, 40), (255, 245, 190)]) / 255.0


def heat_map(uncached: torch.Tensor, cached: torch.Tensor, scale: float) -> torch.Tensor:
    """Mean absolute difference of the colours, [batch, height, width, 3] in 0..1 -> IMAGE of the same size.

    Dark where there is none, brightest from `scale` on.
    """
    hot = torch.empty_like(uncached)
    for i in range(len(hot)):  # one at a time: a clip is large
        hot[i] = _heat((uncached[i] - cached[i]).abs().mean(-1) / scale)
    return hot


def _heat(share: torch.Tensor) -> torch.Tensor:
    """[...], clamped to 0..1 -> colours [..., 3]."""
    place = share.clamp(0.0, 1.0) * (len(HEAT) - 1)
    low = place.long().clamp(max=len(HEAT) - 2)
    colours = HEAT.to(share.device)
    return torch.lerp(colours[low], colours[low + 1], (place - low)[..., None])


def compare_picture(uncached: torch.Tensor, cached: torch.Tensor, heat: torch.Tensor, shown: Sequence[int],
                    captions: Sequence[str], scale: float, gist: str) -> torch.Tensor:
    """A row for each of the `shown` pairs, its caption below: IMAGE [1, height, width, 3].

    Args:
        captions: one for every pair; not drawn where there is only one. scale: of the heat map.
        gist: a line above everything.
    """
    size = to_picture(heat[0], (BOX, BOX)).size
    column = max(MIN_COLUMN, size[0])
    top, caption = MARGIN + LINE + HEADING, CAPTION if len(captions) > 1 else MARGIN
    image, draw = new_image(4 * MARGIN + 3 * column, top + len(shown) * (size[1] + caption) + LEGEND)
    lefts = [MARGIN + i * (column + MARGIN) for i in range(3)]
    draw.text((MARGIN, MARGIN - 4), gist, **text_style(TITLE))
    for left, name, colour in zip(lefts, ("uncached", "cached", "difference"), (UNCACHED, COMPUTED, FAINT)):
        draw.text((left, top - HEADING + 2), name, **text_style(NORMAL, colour))
    y = top
    for row in shown:
        for left, pictures in zip(lefts, (uncached, cached, heat)):
            image.paste(to_picture(pictures[row], (BOX, BOX)), (left, y))
        if len(captions) > 1:
            words = f"{row + 1} of {len(captions)}:  {captions[row]}"
            draw.text((MARGIN, y + size[1] + 6), words, **text_style(NORMAL))
        y += size[1] + caption
    bar = to_picture(_heat(torch.linspace(0.0, 1.0, column)).expand(12, -1, -1), (column, 12))
    image.paste(bar, (lefts[2], y))
    for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
        label = f"{share * scale:.3g}" + (" or more" if share == 1.0 else "")
        draw.text((lefts[2] + share * column, y + 18), label, anchor=anchor, **text_style(SMALL))
    return to_image(image)
