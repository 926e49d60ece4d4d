"""Schedules that are denser at one end: one family for any n and k, with one parameter."""

from __future__ import annotations

import numpy as np

from .assignment import nearest_in_order
from .schedule import Schedule, check_k, from_indices


def power_law(n: int, k: int, power: float) -> Schedule:
    """k of n evaluations, nearest to n u^power at u = i / (k - 1/2), i = 0..k-1.

    Args:
        power: above 1: more of them early; below 1: more of them late; 1: even distances, with half of one after the
            last.

    Raises:
        ScheduleError: k outside 1..n.
    """
    check_k(k, n)
    return from_indices(nearest_in_order(n * (np.arange(k) / (k - 0.5)) ** power, n), n)
