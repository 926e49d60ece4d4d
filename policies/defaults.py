"""What a run without a policy gets: schedule and mechanism, by rules chosen by measurement (docs/few-steps.md).

With a model that predicts a velocity or noise, and Euler's method, repeating the last prediction is one longer step. So
`reuse` on an even schedule is as good as fewer steps by construction, and takes over where no forecast is better.
"""

from __future__ import annotations

from .schedule import Schedule, from_indices
from .uniform import uniform

FEW = 3  # computed evaluations, of which no trend can be told
SHORT = 8  # evaluations: in shorter runs no trend is of use
FINE = 6  # steps for one of the shorter run, where rounding to them does not matter
LONG = 12  # in longer runs a full linear trend is better than a damped one


def default_schedule(n: int, k: int) -> Schedule:
    """k of n evaluations, for any model.

    Where it is enough to cache every other evaluation, 2 (n - k) <= n - 2: around three quarters of the run, or as near
    to it as leaves the last one computed, as the first and the last evaluations are the worst to forecast. Else even
    distances: floor(i n / k) where the mechanism is `reuse`, and
    with half a distance after the last computed evaluation where it is another, floor(2 i n / (2 k - 1)), i = 0..k-1.

    Raises:
        ScheduleError: k outside 1..n.
    """
    even = uniform(n, k)
    cached = n - k
    if 2 * cached <= n - 2:
        last = min(n - 2, 3 * n // 4 + cached - 1)
        skipped = range(last, last - 2 * cached, -2)
        return from_indices((i for i in range(n) if i not in skipped), n)
    if default_mechanism(n, k)[0] == "reuse":
        return even
    return from_indices((2 * i * n // (2 * k - 1) for i in range(k)), n)


def default_mechanism(n: int, k: int) -> tuple[str, int]:
    """Mechanism and order for k of n evaluations under the default schedule."""
    if n < SHORT or k <= FEW:
        return "reuse", 1
    return ("hermite", 1) if n < LONG or k < 6 else ("taylor", 1)


def least_computed(n: int, k: int) -> int:
    """The least number of evaluations, k or more, by which the default comes as close as as many steps without a cache.

    That is k, unless the prediction is repeated and the k steps of the shorter run lie between those of this one: then
    the nearest ones are worse than fewer steps on one of the demo models.
    """
    return next(c for c in range(k, n + 1) if gains(n, c) or n % c == 0 or n >= FINE * c or FEW < c == n - 2)


def gains(n: int, k: int) -> bool:
    """Whether the default comes closer to all n steps than k steps without a cache do, and not only as close."""
    return k == n or default_mechanism(n, k)[0] != "reuse"
