"""Baselines of the learner: a hand-made schedule, recorded costs as an environment, logits that all k share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from recache.policies.learning.environment import Environment
from recache.policies.schedule import Schedule, check_k, from_indices


def front_loaded(n: int, k: int, first: int = 3) -> Schedule:
    """The first `first` evaluations (all k where k is less), then the others at even distances up to the end.

    A forecast needs a history, and the beginning of denoising changes fastest: what hand-made schedules protect.

    Raises:
        ScheduleError: k outside 1..n.
    """
    check_k(k, n)
    first = min(first, k)
    gaps = k - first + 1
    return from_indices((*range(first), *(first - 1 + i * (n - first + 1) // gaps for i in range(1, gaps))), n)


def published_cost(model: str) -> np.ndarray:
    """The extract of a real model's published costs, [24, 25, 25]: "flux" or "wan_i2v" (see tests/published)."""
    with np.load(Path(__file__).parents[1] / "published" / f"{model}.npz") as arrays:
        return arrays["cost"].astype(np.float64)


class RecordedCosts(Environment):
    """The environment of a recorded cost tensor: the sum of a schedule's segment costs (see dynamic_program).

    Args:
        cost: [n, n + 1, n + 1], +inf where not measured.
        unmeasured: what a segment that was not measured costs here, so that every schedule has a finite cost.
    """

    samples = 1

    def __init__(self, cost: np.ndarray, unmeasured: float | None = None):
        finite = cost[np.isfinite(cost)]
        self.n = cost.shape[0]
        self._cost = np.where(np.isfinite(cost), cost, 10.0 * finite.max() if unmeasured is None else unmeasured)

    def cost(self, schedule: Schedule, sample: int = 0) -> float:
        """Sum over computed evaluations j of cost[the one before j, j, the one after j]."""
        computed = (0, *schedule.indices, self.n)
        return float(sum(self._cost[segment] for segment in zip(computed, computed[1:], computed[2:], strict=False)))


class SharedLogits(nn.Module):
    """theta(k) = theta: one vector for every k, so that the schedules of all k are nested."""

    def __init__(self, n: int):
        super().__init__()
        self.theta = nn.Parameter(torch.zeros(n - 1))

    def forward(self, k: Tensor) -> Tensor:
        """k [batch] -> theta [batch, n - 1]."""
        return self.theta.expand(len(k), -1)
