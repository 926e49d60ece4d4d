"""The uniform schedule: what every fixed-interval cache does, and the baseline to beat."""

from __future__ import annotations

from .schedule import Schedule, ScheduleError, from_indices


def uniform(n: int, k: int) -> Schedule:
    """k of n evaluations at even distances, the first at 0: evaluations floor(i n / k), i = 0..k-1.

    Raises:
        ScheduleError: k outside 1..n.
    """
    if not 1 <= k <= n:
        raise ScheduleError(f"A run of {n} evaluations can compute 1 to {n} of them, not {k}.")
    return from_indices((i * n // k for i in range(k)), n)
