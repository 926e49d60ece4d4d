"""Colours, images and text styles that the pack's pictures share, and conversion between PIL and IMAGE."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

WIDTH, MARGIN = 960, 16
# Of text, in pixels. A node shows a picture at about half its size (web/result.js), where small ones can just be read.
TITLE, NORMAL, SMALL = 30, 25, 21
BACKGROUND, TEXT, FAINT, GRID = (28, 30, 36), (220, 224, 230), (150, 156, 168), (62, 66, 76)
COMPUTED, CACHED, UNPLANNED = (240, 150, 40), (70, 78, 92), (220, 60, 60)
UNCACHED, FEWER_STEPS = (90, 170, 240), (170, 110, 220)


def new_image(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """An empty picture, and what draws on it."""
    image = Image.new("RGB", (width, height), BACKGROUND)
    return image, ImageDraw.Draw(image)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def text_style(size: int, colour: tuple[int, int, int] = TEXT) -> dict:
    """Keyword arguments of ImageDraw.text."""
    return {"font": _font(size), "fill": colour}


def drawable(text: str) -> bool:
    """Whether the font has all letters; PIL's own has only Latin ones."""
    return all(ord(letter) < 0x180 for letter in text)


def to_image(picture: Image.Image) -> torch.Tensor:
    """IMAGE [1, height, width, 3] of a picture."""
    return torch.from_numpy(np.asarray(picture.convert("RGB")).astype(np.float32) / 255.0)[None]


def to_picture(image: torch.Tensor, box: tuple[int, int]) -> Image.Image:
    """The picture of one IMAGE [height, width, 3], scaled to fit the box (width, height).

    Small ones are enlarged by a whole number, so that their pixels stay sharp.
    """
    picture = Image.fromarray((image.float().clamp(0.0, 1.0) * 255.0).round().to(torch.uint8).cpu().numpy())
    scale = min(box[0] / picture.width, box[1] / picture.height)
    size = tuple(max(1, round(side * (int(scale) if scale >= 1 else scale))) for side in picture.size)
    return picture.resize(size, Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.LANCZOS)
