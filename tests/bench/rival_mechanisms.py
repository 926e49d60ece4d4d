"""Mechanisms of other papers as weighted sums of computed evaluations, and the pack's L2P with any depth.

The weights are the same for every cond, and guidance is linear, so they are applied after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from comfy.patcher_extension import WrappersMP

from recache.caching.mechanisms import L2P

KEY = "bench.rival_mechanism"
NAMES = ("l2p", "foca")

Weights = Callable[[Sequence[int], int], dict[int, float]]  # (computed, evaluation) -> weights of earlier computed ones


def attach(model, computed: Sequence[int], weights: Weights):
    """A clone of the MODEL that computes these evaluations of a run and forecasts the direction (x - denoised) / sigma
    of the others."""
    directions: dict = {}
    index = [0]

    def outer_sample(executor, *args, **kwargs):
        directions.clear()
        index[0] = 0
        return executor(*args, **kwargs)

    def predict_noise(executor, x, timestep, *args, **kwargs):
        now, sigma = index[0], timestep.flatten()[0]
        index[0] += 1
        if now in computed:
            denoised = executor(x, timestep, *args, **kwargs)
            directions[now] = (x - denoised) / sigma
            return denoised
        return x - sigma * sum(weight * directions[i] for i, weight in weights(computed, now).items())

    model = model.clone()
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, KEY, outer_sample)
    model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, KEY, predict_noise)
    return model


def make(name: str, number: int, runs) -> Weights:
    """A rival of NAMES.

    Args:
        number: L2P's depth; FoCa's reading: 1 from the computed evaluations, 2 stepwise.
        runs: for L2P, the `gram` of samples that are not measured.
    """
    return partial(l2p, L2P(runs.gram, number)) if name == "l2p" else FoCa(number == 2)


def l2p(mechanism: L2P, computed: Sequence[int], now: int) -> dict[int, float]:
    """The Weights of the pack's mechanism, in runs whose positions are the evaluations."""
    past = [i for i in computed if i < now][::-1][:mechanism.depth]
    return dict(zip(past, mechanism.weights(past, now)))


def _unrolled(computed: Sequence[int], now: int, forecast: Callable[[list[np.ndarray], int], np.ndarray]) -> dict:
    """Weights of a rule that forecasts from earlier forecasts too; `forecast` gets the weights of all before it."""
    rows: list[np.ndarray] = []
    for i in range(now + 1):
        rows.append(np.eye(now + 1)[i] if i in computed and i < now else forecast(rows, i))
    return {i: float(weight) for i, weight in enumerate(rows[now]) if weight}


@dataclass(frozen=True)
class FoCa:
    """FoCa (arXiv 2508.16211): a BDF2 forecast (eq. 7), calibrated by Heun's rule (eq. 8).

    F = F_k + h / 2 (D + D'), D' = (4/3 F_k - 1/3 F_{k-1} + 2/3 h D - F_k) / h, D the slope between the last two
    computed evaluations. By eq. 6 D' would be D, and F what Taylor of order 1 gives.

    Attributes:
        stepwise: F_k and F_{k-1} are the two evaluations before, forecast ones too, and h is 1; else they are the last
            two computed ones, and h the distance to the last. The formulas can be read in both ways.
    """

    stepwise: bool = False

    def __call__(self, computed: Sequence[int], now: int) -> dict[int, float]:
        past = [i for i in computed if i < now]
        if len(past) < 2:
            return {past[-1]: 1.0}
        if self.stepwise:
            return _unrolled(computed, now, lambda rows, i: self._step(computed, rows, i))
        before, last = past[-2:]
        change = 1 / 6 + 5 / 6 * (now - last) / (last - before)
        return {last: 1.0 + change, before: -change}

    @staticmethod
    def _step(computed: Sequence[int], rows: list[np.ndarray], i: int) -> np.ndarray:
        past = [j for j in computed if j < i]
        if len(past) < 2:
            return rows[past[-1]]
        before, last = past[-2:]
        slope = (rows[last] - rows[before]) / (last - before)
        forecast = 4 / 3 * rows[i - 1] - 1 / 3 * rows[i - 2] + 2 / 3 * slope
        return rows[i - 1] + (slope + forecast - rows[i - 1]) / 2
