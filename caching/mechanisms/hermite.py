"""Hermite: Taylor's differences with contracted Hermite polynomials for powers (HiCache, arXiv 2508.16984)."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Mechanism, combine, divided_differences


def hermite_polynomial(i: int, x: float) -> float:
    """The physicists' H_i(x): 1, 2x, 4x^2 - 2, 8x^3 - 12x, ..."""
    before, value = 0.0, 1.0
    for n in range(i):
        before, value = value, 2.0 * x * value - 2.0 * n * before
    return value


@dataclass(frozen=True)
class Hermite(Mechanism):
    """F(t) = sum_i D_i / i! sigma^i H_i(sigma x), x = t - t_0, D_i = i! F[t_0 .. t_i].

    Unlike a power, H_i has a scale, so positions must be in units of one evaluation.

    Attributes:
        order: 1 to 3; the highest i.
        sigma: contraction, 0.5 to 0.71 in the paper; at sqrt(1/2) the first order equals Taylor's.
    """

    order: int = 1
    sigma: float = 0.5

    @property
    def depth(self):
        return self.order + 1

    def weights(self, past, now, gamma=1.0):
        x = now - past[0]
        differences = divided_differences(past, self.order)
        return combine(
            differences, [self.sigma**i * hermite_polynomial(i, self.sigma * x) for i in range(len(differences))])
