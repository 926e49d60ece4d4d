"""The schedule of a run without a policy: two rules, chosen by measurement (docs/few-steps.md)."""

from __future__ import annotations

from .schedule import Schedule, from_indices
from .uniform import uniform


def default_schedule(n: int, k: int) -> Schedule:
    """k of n evaluations, for any model.

    While less than half is cached: every other evaluation, from the second last backwards, so that the last one and all
    early ones are computed. Else even distances, with half a distance after the last computed evaluation:
    floor(2 i n / (2 k - 1)), i = 0..k-1.

    Raises:
        ScheduleError: k outside 1..n.
    """
    uniform(n, k)  # checks k
    cached = n - k
    if 2 * cached < n:
        skipped = range(n - 2, n - 2 - 2 * cached, -2)
        return from_indices((i for i in range(n) if i not in skipped), n)
    return from_indices((2 * i * n // (2 * k - 1) for i in range(k)), n)
