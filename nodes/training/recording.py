"""What an uncached run tells about every schedule without another call of the network.

A forecast is a weighted sum of what was computed (see caching.mechanisms), so its squared error follows from the inner
products of the recorded predictions alone: with G = X X^T over the run's n predictions X, a combination c of them has
the squared length c^T G c. Recorded at the model's output; how features of blocks err is taken to be alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ...caching.history import receding
from ...caching.mechanisms import Mechanism
from ...policies.schedule import Schedule

MOST_VALUES = 1 << 20  # of a prediction; evenly spread ones tell as much as all


class Recording:
    """The inner products of one uncached run's predictions.

    Args:
        of_residual: the mechanism forecasts the prediction minus its input.
    """

    def __init__(self, of_residual: bool):
        self._of_residual = of_residual
        self._rows: list[torch.Tensor] = []

    def __call__(self, x: torch.Tensor, denoised: torch.Tensor) -> None:
        """Record one evaluation's input and prediction, of one shape."""
        value = (denoised - x if self._of_residual else denoised).flatten()
        self._rows.append(value[:: -(-len(value) // MOST_VALUES)].to("cpu", torch.float32))

    def gram(self) -> np.ndarray:
        """G, float64 [n, n], per value; frees what was recorded."""
        rows = torch.stack(self._rows).double()
        self._rows = []
        return (rows @ rows.T / rows.shape[1]).numpy()


def positions(times: Sequence[float]) -> list[float]:
    """Evaluation times as the engine's positions: rising, in units of one evaluation."""
    span = times[0] - times[-1]
    scale = (len(times) - 1) / span if span else 1.0
    return [(times[0] - t) * scale for t in times]


def step_weights(sigmas: Sequence[float], power: float) -> np.ndarray:
    """What an error in a prediction counts, [n]: |sigma - next sigma| / sigma^power.

    A power of 1 is how far an Euler step of the error moves the sample; the evaluations that follow amplify the early
    ones, which a lower power allows for.
    """
    ahead = np.array([*sigmas[1:], 0.0])
    return np.abs(np.array(sigmas) - ahead) / np.maximum(sigmas, 1e-9) ** power


def _errors(schedule: Sequence[int], place: Sequence[float], mechanism: Mechanism) -> np.ndarray:
    """Row e: the forecast of evaluation e minus e itself, as a combination of the recorded ones; zero if computed."""
    n = len(place)
    rows = np.zeros((n, n))
    computed = set(schedule)
    past: list[int] = []
    for e in range(n):
        if e in computed:
            past = [e, *past][: mechanism.depth]
            continue
        kept = [past[i] for i in receding([place[p] for p in past], place[e])]
        weights = mechanism.weights([place[p] for p in kept], place[e])
        rows[e, kept[: len(weights)]] = weights
        rows[e, e] -= 1.0
    return rows


class Surrogate:
    """An Environment of one sample that costs nothing: the error that a schedule's forecasts sum up to, open loop.

    Args:
        gram: mean G of the recordings.
        times: of the evaluations. weights: of their errors (see step_weights).
    """

    samples = 1

    def __init__(self, gram: np.ndarray, times: Sequence[float], weights: np.ndarray, mechanism: Mechanism):
        self.n = len(gram)
        self._gram, self._mechanism = gram, mechanism
        self._place, self._weights = positions(times), weights

    def cost(self, schedule: Schedule, sample: int = 0) -> float:
        """Squared length of the weighted sum of all forecast errors, per value."""
        combination = self._weights @ _errors(schedule.indices, self._place, self._mechanism)
        return float(combination @ self._gram @ combination)


def segment_costs(
        gram: np.ndarray, times: Sequence[float], weights: np.ndarray, mechanism: Mechanism) -> np.ndarray:
    """cost[i, j, m], [n, n + 1, n + 1], for policies.dynamic_program: weighted squared errors over j + 1 .. m - 1.

    Forecasts use the last two computed evaluations at most; a higher order than 1 is taken for the first.
    """
    n = len(gram)
    place = positions(times)
    cost = np.full((n, n + 1, n + 1), np.inf)
    for j in range(n):
        for i in range(j) if j else [0]:
            past = [j] if i == j else [j, i]
            past = past[: mechanism.depth]
            total = 0.0
            cost[i, j, j + 1] = 0.0
            for e in range(j + 1, n):
                kept = [past[r] for r in receding([place[p] for p in past], place[e])]
                forecast = mechanism.weights([place[p] for p in kept], place[e])
                chosen, combination = [*kept[: len(forecast)], e], np.array([*forecast, -1.0])
                error = combination @ gram[np.ix_(chosen, chosen)] @ combination
                total += weights[e] ** 2 * max(0.0, float(error))
                cost[i, j, e + 1] = total
    return cost
