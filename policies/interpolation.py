"""A schedule for every k, interpolated from those of some k."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

import numpy as np

from .assignment import nearest_in_order
from .schedule import Schedule, from_indices

_ROUNDING = 1e-6


class Interpolation:
    """Reads the positions of computed evaluations as quantiles of a density.

    The quantile functions of the next smaller and larger known k are mixed in proportion, and k positions are read off;
    beyond the smallest and largest known k there is one neighbour. Measured on published costs of FLUX and Wan with
    five k of 7 to 30 known: a median 10% and 3% above the optimum, against 22% and 34% for a policy network's own
    interpolation.

    Args:
        schedules: {k: schedule}, at least one, all of the same n and times.
    """

    def __init__(self, schedules: Mapping[int, Schedule]):
        self.schedules = schedules
        self.known = sorted(schedules)
        self._quantiles: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def schedule(self, k: int) -> Schedule:
        """The schedule of k computed evaluations, k in 1..n."""
        if k in self.schedules:
            return self.schedules[k]
        some = self.schedules[self.known[0]]
        return from_indices(nearest_in_order(self._positions(k), some.n), some.n, some.times)

    def surely_fewer_from(self, start: int, whole: int, k: int) -> bool:
        """Whether `schedule(whole)` computes fewer than k evaluations from `start` on, without making it.

        False for ties, too. `nearest_in_order` is the rounded isotonic regression d of position minus rank, and d[r] <=
        x exactly where the least prefix sum of (position - rank - x) beyond r is at most the least one up to r.

        Args:
            whole, k: 1..n, k <= whole. start: 0..n - k.
        """
        if whole in self.schedules:
            return whole - bisect_left(self.schedules[whole].indices, start) < k
        rank = whole - k  # of the k-th last computed evaluation, which must not come before `start`
        if start <= rank:
            return False
        excess = self._positions(whole) - np.arange(whole) - (start - rank - 0.5)
        sums = np.concatenate(([0.0], np.cumsum(excess)))
        return bool(sums[rank + 1 :].min() < sums[: rank + 1].min() - _ROUNDING)

    def _positions(self, k: int) -> np.ndarray:
        """k positions in 0..n, ascending, with the mixed density of the neighbours' computed evaluations."""
        place = bisect_left(self.known, k)
        low, high = self.known[max(place - 1, 0)], self.known[min(place, len(self.known) - 1)]
        weight = (k - low) / (high - low) if high > low else 0.0
        return (1.0 - weight) * self._of_density(low, k) + weight * self._of_density(high, k)

    def _of_density(self, known: int, k: int) -> np.ndarray:
        """k positions in 0..n, with the density of a known schedule's computed evaluations."""
        if known not in self._quantiles:
            schedule = self.schedules[known]
            self._quantiles[known] = np.arange(known + 1) / known, np.array((*schedule.indices, schedule.n), float)
        return np.interp(np.arange(k) / k, *self._quantiles[known])
