"""Open-loop forecast errors of any schedule, from the inner products of one uncached run's predictions.

A forecast is a weighted sum of what was computed (see caching.mechanisms), so its squared error follows from the inner
products of the recorded predictions alone: with G = X X^T over the run's n predictions X, a combination c of them has
the squared length c^T G c. Recorded at the model's output, also for features of blocks: directions rank schedules as
well as the features themselves do (docs/measurements.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .feature_kind import FeatureKind
from .history import usable_history
from .mechanisms import Mechanism

MOST_VALUES = 1 << 20  # of a prediction; of larger ones, evenly spread values are as informative


class Recording:
    """The inner products of one uncached run's predictions; for `kind` see feature_kind."""

    def __init__(self, kind: FeatureKind):
        self._kind = kind
        self._rows: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, denoised: torch.Tensor, sigma: float) -> None:
        """Record one evaluation's input and prediction, of one shape, at its noise level."""
        if self._kind is FeatureKind.DENOISED:
            value = denoised
        else:
            value = (denoised - x) if self._kind is FeatureKind.RESIDUAL else (x - denoised) / sigma
        value = value.flatten()
        self._rows.append(value[:: -(-len(value) // MOST_VALUES)].to("cpu", torch.float32))

    def gram(self) -> np.ndarray:
        """G over the number of values, float64 [n, n]; frees the recorded predictions."""
        rows = torch.stack(self._rows).double()
        self._rows = []
        return (rows @ rows.T / rows.shape[1]).numpy()


@dataclass(frozen=True)
class Recorded:
    """What forecast errors are computed from.

    Attributes:
        gram: mean of Recording.gram over runs, [n, n].
        positions: of the evaluations (see Evaluations).
        mechanism: the mechanism that forecasts.
    """

    gram: np.ndarray
    positions: Sequence[float]
    mechanism: Mechanism


def step_weights(sigmas: Sequence[float], power: float, kind: FeatureKind) -> np.ndarray:
    """Weight of every evaluation's forecast error, [n].

    |sigma - next sigma| is how far an Euler step moves the sample per unit of error in the direction; for the denoised
    sample it is divided by sigma. The factor sigma^power allows for early errors being amplified by later evaluations.
    """
    here = np.maximum(sigmas, 1e-9)
    ahead = np.array([*sigmas[1:], 0.0])
    return np.abs(np.array(sigmas) - ahead) * here**power / (1.0 if kind is FeatureKind.DIRECTION else here)


def _errors(schedule: Sequence[int], place: Sequence[float], mechanism: Mechanism) -> np.ndarray:
    """Row e: forecast minus prediction of evaluation e, as weights of the recorded predictions; zero if computed."""
    n = len(place)
    rows = np.zeros((n, n))
    computed = set(schedule)
    past: list[int] = []
    for e in range(n):
        if e in computed:
            past = [e, *past][: mechanism.depth]
            continue
        kept = [past[i] for i in usable_history([place[p] for p in past], place[e])]
        weights = mechanism.weights([place[p] for p in kept], place[e])
        rows[e, kept[: len(weights)]] = weights
        rows[e, e] -= 1.0
    return rows


def summed_error(recorded: Recorded, computed: Sequence[int], weights: np.ndarray) -> float:
    """Squared length, per value, of the weighted sum of all forecast errors of a schedule, open loop.

    Args:
        computed: indices of the computed evaluations, ascending. weights: [n] (see step_weights).
    """
    combination = weights @ _errors(computed, recorded.positions, recorded.mechanism)
    return float(combination @ recorded.gram @ combination)


def segment_errors(recorded: Recorded) -> np.ndarray:
    """error[i, j, e], [n, n, n]: squared error of the forecast of e > j from the last two computed ones, i and j.

    i = j = 0 where only evaluation 0 was computed; infinite elsewhere. Orders above 1 are treated as order 1.
    """
    gram, place, mechanism = recorded.gram, recorded.positions, recorded.mechanism
    n = len(gram)
    errors = np.full((n, n, n), np.inf)
    for j in range(n):
        for i in range(j) if j else [0]:
            past = ([j] if i == j else [j, i])[: mechanism.depth]
            for e in range(j + 1, n):
                kept = [past[r] for r in usable_history([place[p] for p in past], place[e])]
                forecast = mechanism.weights([place[p] for p in kept], place[e])
                chosen, combination = [*kept[: len(forecast)], e], np.array([*forecast, -1.0])
                errors[i, j, e] = max(0.0, float(combination @ gram[np.ix_(chosen, chosen)] @ combination))
    return errors


def segment_costs(errors: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """cost[i, j, m], [n, n + 1, n + 1], for the dynamic program: weighted squared errors over j + 1 .. m - 1.

    Args:
        errors: see segment_errors. weights: [n] (see step_weights).
    """
    n = len(errors)
    cost = np.full((n, n + 1, n + 1), np.inf)
    for j in range(n):
        before = np.arange(j) if j else np.array([0])
        cost[before, j, j + 1] = 0.0
        cost[before, j, j + 2:] = np.cumsum(weights[j + 1:] ** 2 * errors[before, j, j + 1:], 1)
    return cost
