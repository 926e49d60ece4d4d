"""A schedule for every k, interpolated from those of some k."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .schedule import Schedule, from_indices, nearest_in_order

_ROUNDING = 1e-6


def between(schedules: Mapping[int, Schedule], k: int) -> Schedule:
    """The schedule of k computed evaluations, interpolated between the next smaller and larger known k.

    The positions of computed evaluations are read as quantiles of a density. The quantile functions of the two
    neighbours are mixed in proportion, and k positions are read off; beyond the known k there is one neighbour.
    Measured on published costs of FLUX and Wan with five k of 7 to 30 known: a median 10% and 3% above the optimum,
    against 22% and 34% for a policy network's own interpolation.

    Args:
        schedules: {k: schedule}, at least one, all of the same n and times. k: 1..n.
    """
    if k in schedules:
        return schedules[k]
    some = next(iter(schedules.values()))
    return from_indices(nearest_in_order(_between_positions(schedules, k), some.n), some.n, some.times)


def surely_fewer_from(schedules: Mapping[int, Schedule], whole: int, start: int, k: int) -> bool:
    """Whether `between(schedules, whole)` computes fewer than k evaluations from `start` on, in linear time.

    False for ties, too. `nearest_in_order` is the rounded isotonic regression d of position minus rank, and d[r] <= x
    exactly where the least prefix sum of (position - rank - x) beyond r is at most the least one up to r.

    Args:
        whole, k: 1..n, k <= whole. start: 0..n - k.
    """
    if whole in schedules:
        return sum(schedules[whole].computed[start:]) < k
    rank = whole - k  # of the k-th last computed evaluation, which must not come before `start`
    excess = _between_positions(schedules, whole) - np.arange(whole) - (start - rank - 0.5)
    sums = np.concatenate(([0.0], np.cumsum(excess)))
    return start > rank and bool(sums[rank + 1 :].min() < sums[: rank + 1].min() - _ROUNDING)


def _between_positions(schedules: Mapping[int, Schedule], k: int) -> np.ndarray:
    """k positions in 0..n, ascending, with the mixed density of the neighbours' computed evaluations."""
    low = schedules[max((known for known in schedules if known < k), default=min(schedules))]
    high = schedules[min((known for known in schedules if known > k), default=max(schedules))]
    weight = (k - low.k) / (high.k - low.k) if high.k > low.k else 0.0
    return (1.0 - weight) * _positions(low, k) + weight * _positions(high, k)


def _positions(schedule: Schedule, k: int) -> np.ndarray:
    """k positions in 0..n, with the density of the schedule's computed evaluations."""
    ends = (*schedule.indices, schedule.n)
    return np.interp(np.arange(k) / k, np.arange(len(ends)) / schedule.k, ends)
