"""Latents of several parts, such as video with sound (the host's nested tensors), as one tensor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod, sqrt

import torch


def parts_of(latent) -> list[torch.Tensor]:
    """The tensors of a nested latent, or alone what is no such."""
    return list(latent.unbind()) if getattr(latent, "is_nested", False) else [latent]


def each_part(latent, change: Callable[[torch.Tensor], torch.Tensor]):
    """The latent with `change` applied to every part, nested if it was."""
    changed = [change(part) for part in parts_of(latent)]
    return type(latent)(changed) if latent.is_nested else changed[0]


@dataclass(frozen=True)
class LatentParts:
    """How latents of these parts become one tensor in which every part counts alike, however many numbers it has.

    Attributes:
        shapes: of the parts of one sample.
    """

    shapes: tuple[tuple[int, ...], ...]

    def join(self, latent) -> torch.Tensor:
        """[batch, 1, n], whose mean squared error is the mean of those of the parts; a latent of one part itself."""
        parts = parts_of(latent)
        if len(parts) == 1:
            return parts[0]
        return torch.cat(
            [part.reshape(len(part), 1, -1) * scale for part, scale in zip(parts, self._scales, strict=True)], -1)

    def first(self, joined: torch.Tensor) -> torch.Tensor:
        """The first part, the pictures, of a latent that was joined."""
        if len(self.shapes) == 1:
            return joined
        shape = self.shapes[0]
        return joined[:, 0, : prod(shape)].reshape(len(joined), *shape) / self._scales[0]

    @property
    def _scales(self) -> list[float]:
        counts = [prod(shape) for shape in self.shapes]
        return [sqrt(sum(counts) / (len(counts) * count)) for count in counts]
