"""How far a cached output is from the uncached one, in the figures that artists know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import fmean
from typing import Protocol

import comfy.model_management
import torch

from ...policies.metrics import distances

SMALLEST = 32  # pixels of a side: LPIPS can't be had of less


@dataclass(frozen=True)
class Figures:
    """Of one pair of outputs, or the mean of several.

    Attributes:
        difference: what the measure is named for; 0 for equal outputs.
        psnr: dB, 100 for equal pictures. ssim: 1 for equal pictures. None of latents.
    """

    difference: float
    psnr: float | None = None
    ssim: float | None = None


class Measure(Protocol):
    """Makes figures.

    Attributes:
        name: of the difference.
        notes: sentences on what stands in for what.
    """

    name: str
    notes: list[str]

    def each(self, uncached: torch.Tensor, cached: torch.Tensor) -> list[Figures]:
        """Of every pair in two batches of one shape."""
        ...


class Pictures:
    """LPIPS, or what stands in for it, PSNR and SSIM of pictures [batch, height, width, 3] in 0..1; see Measure."""

    def __init__(self) -> None:
        self._perceptual, self.name, self.notes = distances.perceptual()
        self._device = comfy.model_management.get_torch_device()

    def each(self, uncached: torch.Tensor, cached: torch.Tensor) -> list[Figures]:
        """See Measure."""
        return [self._of(a.to(self._device), b.to(self._device)) for a, b in zip(cached.split(1), uncached.split(1))]

    def _of(self, a: torch.Tensor, b: torch.Tensor) -> Figures:
        return Figures(float(self._perceptual(a, b)), -float(distances.psnr(a, b)), 1.0 - float(distances.ssim(a, b)))


class Latents:
    """The root mean square error of latents [batch, ...]; see Measure."""

    def __init__(self) -> None:
        self.name, self.notes = "latent RMSE", []

    def each(self, uncached: torch.Tensor, cached: torch.Tensor) -> list[Figures]:
        """See Measure."""
        return [Figures(error) for error in distances.latent_mse(cached, uncached).sqrt().tolist()]


def mean(figures: Sequence[Figures]) -> Figures:
    """Their mean, one or more, all of one measure."""
    return Figures(*(None if None in values else fmean(values) for values in zip(*map(astuple, figures))))


def words(name: str, figures: Figures) -> str:
    """The figures as a line; `name` is the measure's."""
    line = f"{name} {figures.difference:.4f}"
    if figures.psnr is None:
        return line
    psnr = "equal pictures" if figures.psnr >= distances.MAX_PSNR else f"PSNR {figures.psnr:.1f} dB"
    return f"{line}, {psnr}, SSIM {figures.ssim:.4f}"
