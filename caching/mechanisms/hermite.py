"""Hermite: Taylor's differences with contracted Hermite polynomials for powers (HiCache, arXiv 2508.16984)."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Differences


def hermite_polynomial(i: int, x: float) -> float:
    """The physicists' H_i(x): 1, 2x, 4x^2 - 2, 8x^3 - 12x, ..."""
    before, value = 0.0, 1.0
    for n in range(i):
        before, value = value, 2.0 * x * value - 2.0 * n * before
    return value


@dataclass(frozen=True)
class Hermite(Differences):
    """F(t) = sum_i D_i / i! sigma^i H_i(sigma x), x = t - t_0, D_i = i! F[t_0 .. t_i].

    Unlike a power, H_i has a scale, so positions must be in units of one evaluation.

    Attributes:
        sigma: contraction, 0.5 to 0.71 in the paper; at sqrt(1/2) the first order equals Taylor's.
    """

    sigma: float = 0.5

    def factor(self, i, x):
        return self.sigma**i * hermite_polynomial(i, self.sigma * x)
