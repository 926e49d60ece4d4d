"""Budgets: k, the number of computed evaluations that one pays for, the planned speed-up, and the knee of a curve."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from .schedule import ScheduleError, check_k

_TOLERANCE = 1e-9  # relative: 0.14 * 50 may be 7.000000000000001 or 6.99..., and must be 7
_MAX_LISTED = 12


def computed_for_budget(budget: float, n: int, cached_cost: float = 0.0) -> int:
    """The largest k with k + (n - k) c <= budget n; at least 1, because evaluation 0 is always computed.

    Args:
        budget: the share of the full compute that the run may spend, 0 < budget <= 1.
        n: evaluations of the run, at least 1.
        cached_cost: c, cost of a cached evaluation as a share of a computed one, 0 <= c < 1.

    Raises:
        ScheduleError: a budget, n or cached cost outside its range.
    """
    if not 0.0 < budget <= 1.0:
        raise ScheduleError(f"The budget is {budget:g}; set it above 0 and at most 1 (the share of the full compute).")
    _check(n, cached_cost)
    paid = (budget - cached_cost) * n / (1.0 - cached_cost)
    return min(n, max(1, math.floor(paid + _TOLERANCE * n)))


def budget_for(k: int, n: int, cached_cost: float = 0.0) -> float:
    """The least budget, in hundredths, that pays for k of n evaluations (see computed_for_budget)."""
    _check(n, cached_cost)
    check_k(k, n)
    return min(1.0, math.ceil(100 * (k + (n - k) * cached_cost) / n - _TOLERANCE * 100) / 100)


def listed(text: str) -> tuple[float, ...]:
    """The budgets in an artist's list such as "0.14, 0.18, 0.26", in its order.

    Raises:
        ScheduleError: no budgets, too many, or one outside 0 < budget <= 1.
    """
    try:
        budgets = tuple(float(item) for item in re.split(r"[\s,;]+", text.strip()) if item)
    except ValueError:
        budgets = ()
    if not budgets or not all(0.0 < budget <= 1.0 for budget in budgets):
        raise ScheduleError(f"'{text[:40]}' are no budgets; write shares of the full compute such as 0.14, 0.18, 0.26.")
    if len(budgets) > _MAX_LISTED:
        raise ScheduleError(f"These are {len(budgets)} budgets; list {_MAX_LISTED} at most.")
    return budgets


def knee(costs: Sequence[float], errors: Sequence[float]) -> int | None:
    """Index of the point from which on more cost buys little quality; None if there is no such point.

    The one farthest below the straight line between the curve's ends, with both axes scaled to 0..1: Kneedle (Satopaa
    et al. 2011, "Finding a 'Kneedle' in a Haystack") for a few points, which need no smoothing.

    Args:
        costs, errors: of the points, two or more, the cheapest first; the last one's error is the least.
    """
    scaled_costs, scaled_errors = (
        [(value - min(values)) / ((max(values) - min(values)) or 1.0) for value in values]
        for values in (costs, errors))
    below = [1.0 - cost - error for cost, error in zip(scaled_costs, scaled_errors)]
    best = max(range(len(below)), key=below.__getitem__)
    return best if below[best] > _TOLERANCE else None


def planned_speedup(k: int, n: int, cached_cost: float = 0.0) -> float:
    """n / (k + (n - k) c): the speed-up of k computed of n evaluations, if a cached one costs c of a computed one.

    Raises:
        ScheduleError: k outside 1..n, or n or the cached cost outside its range.
    """
    _check(n, cached_cost)
    check_k(k, n)
    return n / (k + (n - k) * cached_cost)


def _check(n: int, cached_cost: float) -> None:
    if n < 1:
        raise ScheduleError(f"A run needs at least one evaluation, not {n}.")
    if not 0.0 <= cached_cost < 1.0:
        raise ScheduleError(f"A cached evaluation costs 0 to below 1 of a computed one, not {cached_cost:g}.")
