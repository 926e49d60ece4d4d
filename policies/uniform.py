"""The uniform schedule: what every fixed-interval cache does, and the baseline to beat."""

from __future__ import annotations

from .schedule import Schedule, check_k, from_indices


def uniform(n: int, k: int) -> Schedule:
    """k of n evaluations at even distances, the first at 0: evaluations floor(i n / k), i = 0..k-1.

    Raises:
        ScheduleError: k outside 1..n.
    """
    check_k(k, n)
    return from_indices((i * n // k for i in range(k)), n)
