"""DiCache: the first block, run on every evaluation, tells how far the residual has moved (arXiv 2508.17356)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan

import torch

from .base import Mechanism


@dataclass(frozen=True)
class DiCache(Mechanism):
    """F(t) = x(t) + r_2 + gamma (r_1 - r_2), r_1 and r_2 the residuals of the last two computed evaluations.

    gamma = clip(|p - p_2| / |p_1 - p_2|, 1, gamma_max), p the residual of the first block, mean absolute values.

    Attributes:
        gamma_max: 1.5 for images, 2 for video in the paper.
    """

    gamma_max: float = 1.5
    depth = 2
    of_residual = True
    probes = True

    def gamma(self, probe: torch.Tensor, newest: torch.Tensor, before: torch.Tensor) -> float:
        """The clipped ratio of the changes of the first block's residual; tensors of one shape."""
        moved, baseline = (probe - before).abs().mean(), (newest - before).abs().mean()
        ratio = float(moved / baseline)
        return 1.0 if isnan(ratio) else min(max(ratio, 1.0), self.gamma_max)

    def weights(self, past, now, gamma=1.0):
        return [1.0] if len(past) < 2 else [gamma, 1.0 - gamma]
