"""The cost of every segment of every schedule, from one uncached run: what the dynamic program needs."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def open_loop_costs(features: Tensor, times: Tensor, order: int, weights: Tensor) -> np.ndarray:
    """The weighted root-mean-square errors of forecasts from uncached features, summed over each segment.

    Order 0 reuses the last computed feature; order 1 extrapolates the line through the last two over their times. Both
    are linear in the features, so all errors come from the features' inner products, without a forecast being made.

    Args:
        features: [n, ...], of the n evaluations of an uncached run (for a residual mechanism, its residuals).
        times: [n], distinct numbers that the forecast extrapolates over: evaluation times or step numbers.
        order: 0 or 1; a forecast of higher order is best approximated by 1.
        weights: [n], at least 0: how much an error of each evaluation counts, such as its step in sigma.

    Returns:
        cost[i, j, m], [n, n + 1, n + 1] float64, as `dynamic_program.solve` takes it: the sum over the evaluations
        after j and before m, forecast from j with i the computed one before it (i = j = 0: none); +inf elsewhere.
    """
    n = len(features)
    flat = features.flatten(1).double()
    flat = flat - flat.mean(0)  # forecasts are affine, and small differences of big inner products are not accurate
    gram = (flat @ flat.T / flat.shape[1]).cpu()
    times, weights = times.double().cpu(), weights.double().cpu()
    cost = np.full((n, n + 1, n + 1), np.inf)
    for j in range(n):
        for i in range(j) if j else [0]:
            later = torch.arange(j + 1, n)
            slope = (times[later] - times[j]) / (times[j] - times[i]) if order and j else torch.zeros(n - j - 1)
            forecast = torch.zeros(n - j - 1, n, dtype=torch.float64)  # [later, n]: weights of the features
            forecast[:, j] = 1.0 + slope
            forecast[:, i] -= slope
            forecast[torch.arange(n - j - 1), later] -= 1.0
            error = torch.einsum("ln,nm,lm->l", forecast, gram, forecast).clamp(min=0.0).sqrt() * weights[later]
            cost[i, j, j + 1 :] = np.concatenate(([0.0], error.cumsum(0).numpy()))
    return cost
