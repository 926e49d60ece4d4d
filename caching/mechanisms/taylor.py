"""Taylor: the trajectory of the feature is extended as a polynomial (TaylorSeer, arXiv 2503.06923)."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Mechanism, combine, divided_differences


@dataclass(frozen=True)
class Taylor(Mechanism):
    """F(t) = sum_i D_i x^i / i!, x = t - t_0, D_i = i! F[t_0 .. t_i] over the computed evaluations.

    The divided differences make D_i right for irregular gaps. Lines are reproduced exactly at every order; a parabola
    is not, by the paper's own x^i, and that is better: Newton's exact polynomial of order 2 forecasts far worse over
    the wide gaps of small budgets (measured).

    Attributes:
        order: 1 to 3; the highest i. Fewer terms are used until enough evaluations are remembered.
    """

    order: int = 1

    @property
    def depth(self):
        return self.order + 1

    def weights(self, past, now, gamma=1.0):
        x = now - past[0]
        differences = divided_differences(past, self.order)
        return combine(differences, [x**i for i in range(len(differences))])  # D_i / i! is the divided difference
