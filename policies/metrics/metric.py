"""One metric for training, Frontier and Compare: a named distance, less a reward; and its figures for artists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from statistics import fmean

import torch
from torch import Tensor

from . import distances, rewards

MIN_SIDE = 32  # pixels: LPIPS is undefined for smaller pictures


@dataclass(frozen=True)
class Metric:
    """L = d(cached, uncached) - alpha R(cached) (arXiv 2606.06060); lower is better.

    Attributes:
        name: such as "latent RMSE".
        distance, reward: d and R. alpha: weight of the reward, 0 or more.
        of_pictures: whether it compares pictures in 0..1 (see distances) and not latents.
        missing: why this is not LPIPS, where it stands in for it; else None.
    """

    name: str
    distance: distances.Distance
    reward: rewards.Reward = rewards.none
    alpha: float = 0.0
    of_pictures: bool = True
    missing: distances.LpipsMissing | None = None

    def __call__(self, cached: Tensor, uncached: Tensor) -> Tensor:
        """[batch, ...] of one shape -> [batch], float32."""
        return rewards.image_loss(cached.float(), uncached.float(), self.distance, self.reward, self.alpha)


# The root keeps a single hard sample from dominating the mean: on the trained FLUX demo model with four samples,
# squared errors selected a schedule with twice the ST-LPIPS on held-out samples.
LATENT_RMSE = Metric("latent RMSE", lambda a, b: distances.latent_mse(a, b).sqrt(), of_pictures=False)


def perceptual() -> Metric:
    """LPIPS, or 1 - SSIM where LPIPS is not available."""
    distance, name, missing = distances.perceptual()
    return Metric(name, distance, missing=missing)


def rooted(metric: Metric) -> Metric:
    """The root of a metric that grows with squared differences; see LATENT_RMSE."""
    return Metric(f"root of {metric.name}", lambda a, b: metric.distance(a, b).clamp_min(0.0).sqrt(),
                  missing=metric.missing)


@dataclass(frozen=True)
class Figures:
    """Of one pair of outputs, or the mean of several.

    Attributes:
        difference: the metric's value; 0 for equal outputs.
        psnr: dB, 100 for equal pictures. ssim: 1 for equal pictures. None for latents.
    """

    difference: float
    psnr: float | None = None
    ssim: float | None = None


def figures(metric: Metric, cached: Tensor, uncached: Tensor, device: torch.device | str = "cpu") -> list[Figures]:
    """Of every pair in two batches of one shape, computed on `device` pair by pair."""
    pairs = [(a.to(device), b.to(device)) for a, b in zip(cached.split(1), uncached.split(1), strict=True)]
    if not metric.of_pictures:
        return [Figures(float(metric(a, b))) for a, b in pairs]
    return [Figures(float(metric(a, b)), -float(distances.psnr(a, b)), 1.0 - float(distances.ssim(a, b)))
            for a, b in pairs]


def mean(several: Sequence[Figures]) -> Figures:
    """Their mean; one or more, all of one metric."""
    return Figures(*(None if None in values else fmean(values) for values in zip(*map(astuple, several))))
