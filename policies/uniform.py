"""The uniform schedule: what every fixed-interval cache does, and the baseline to beat; and one with an early burst."""

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


def front_loaded(n: int, k: int, first: int = 3) -> Schedule:
    """The first `first` evaluations (all k where k is less), then the others at even distances up to the end.

    A forecast needs a history, and the beginning of denoising changes fastest: what hand-made schedules protect.

    Raises:
        ScheduleError: k outside 1..n.
    """
    if not 1 <= k <= n:
        raise ScheduleError(f"A run of {n} evaluations can compute 1 to {n} of them, not {k}.")
    first = min(first, k)
    gaps = k - first + 1
    return from_indices((*range(first), *(first - 1 + i * (n - first + 1) // gaps for i in range(1, gaps))), n)
