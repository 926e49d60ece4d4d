"""One tensor of tokens for blocks that work on several streams, or on tokens without a batch axis."""

from __future__ import annotations

from typing import Any

import torch


def joined(img: Any) -> Any:
    """The image tokens of a block as one tensor, [batch, tokens, channels].

    Tokens of one stream are returned as they are; packed ones, [tokens, channels], get a batch axis. Several streams,
    such as (video, audio), may differ in width, so their numbers follow each other: [batch, numbers, 1]. Forecasts are
    sums of features, number by number, and don't mind. What is none of these is returned as it is.
    """
    if torch.is_tensor(img):
        return img[None] if img.ndim == 2 else img
    several = isinstance(img, tuple | list) and len(img) > 1
    if not (several and all(torch.is_tensor(part) and part.ndim == 3 and len(part) == len(img[0]) for part in img)):
        return img
    return torch.cat([part.flatten(1) for part in img], dim=1)[..., None]


def parted(tokens: Any, like: Any) -> Any:
    """`joined` undone: the tokens in the form of `like`, what a block was given."""
    if not torch.is_tensor(tokens):
        return tokens
    if torch.is_tensor(like):
        return tokens[0] if like.ndim == 2 else tokens
    numbers = tokens[..., 0].split([part[0].numel() for part in like], dim=1)
    return type(like)(part.reshape(shape.shape) for part, shape in zip(numbers, like))


def with_img(values: Any, change: Any) -> Any:
    """A block's arguments or results with `change` of their image tokens; the same object where nothing changes."""
    if not (isinstance(values, dict) and "img" in values):
        return values
    img = change(values["img"])
    return values if img is values["img"] else {**values, "img": img}
