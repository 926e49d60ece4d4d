"""The base class of mechanisms, and the divided differences that two of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Mechanism:
    """A cached evaluation as a weighted sum of the features of the last computed evaluations.

    Attributes:
        depth: how many computed evaluations are stored.
        of_residual: features are stored minus the input, and the sum is added to the current input.
        probes: the first block runs on cached evaluations too, and its residuals give the `gamma` of `weights`.
        extrapolates: it continues a trend, which guidance follows only in part (see guidance.guidance_trend).
        needs_gram: it forecasts from the inner products of recorded predictions, which a policy brings along, and so
            only at the cache point `output`.
    """

    depth = 1
    of_residual = False
    probes = False
    extrapolates = False
    needs_gram = False

    def weights(self, past: Sequence[float], now: float, gamma: float = 1.0) -> list[float]:
        """Weights of the stored evaluations, newest first; those beyond the list have weight 0.

        Args:
            past: positions of the stored evaluations, newest first: distinct, and moving away from `now`.
            now: position of the evaluation to reconstruct.
            gamma: the ratio that a probing mechanism measured (see `DiCache`).
        """
        raise NotImplementedError


def divided_differences(past: Sequence[float], order: int) -> list[list[float]]:
    """Newton's divided differences f[t_0], f[t_0, t_1], ... as weights of the values at t_0, t_1, ...

    Args:
        past: distinct positions t_0, t_1, ..., newest first.
        order: the highest difference wanted; fewer are given where `past` is short.

    Returns:
        Row i holds the i + 1 weights of f[t_0 .. t_i] = sum_j f(t_j) / prod_{l != j} (t_j - t_l).
    """
    rows = []
    for i in range(min(order, len(past) - 1) + 1):
        row = []
        for j in range(i + 1):
            product = 1.0
            for other in range(i + 1):
                if other != j:
                    product *= past[j] - past[other]
            row.append(1.0 / product)
        rows.append(row)
    return rows


def combine(rows: Sequence[Sequence[float]], factors: Sequence[float]) -> list[float]:
    """Weights of sum_i factors[i] * (difference i)."""
    weights = [0.0] * len(rows[-1])
    for row, factor in zip(rows, factors):
        for j, weight in enumerate(row):
            weights[j] += factor * weight
    return weights


@dataclass(frozen=True)
class Differences(Mechanism):
    """Mechanisms of divided differences: F(t) = sum_i F[t_0 .. t_i] factor(i, t - t_0).

    Attributes:
        order: the highest i, 1 to 3. Fewer terms are used until enough evaluations are stored.
    """

    order: int = 1
    extrapolates = True

    @property
    def depth(self):
        return self.order + 1

    def factor(self, i: int, x: float) -> float:
        """Factor of difference i at distance x from the newest evaluation."""
        raise NotImplementedError

    def weights(self, past, now, gamma=1.0):
        differences = divided_differences(past, self.order)
        return combine(differences, [self.factor(i, now - past[0]) for i in range(len(differences))])
