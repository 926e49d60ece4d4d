"""Taylor: the trajectory of the feature is extended as a polynomial (TaylorSeer, arXiv 2503.06923)."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Differences


@dataclass(frozen=True)
class Taylor(Differences):
    """F(t) = sum_i D_i x^i / i!, x = t - t_0, D_i = i! F[t_0 .. t_i] over the computed evaluations.

    The divided differences make D_i right for irregular gaps. Lines are reproduced exactly at every order; a parabola
    is not, by the paper's own x^i, and that is better: Newton's exact polynomial of order 2 forecasts far worse over
    the wide gaps of small budgets (measured).
    """

    def factor(self, i, x):
        return x**i  # D_i / i! is the divided difference
