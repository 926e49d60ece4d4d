"""Schedule and mechanism of a run without a policy: rules chosen by measurement (docs/few-steps.md).

With a model that predicts a velocity or noise, and Euler's method, repeating the last prediction is one longer step. So
`reuse` on an even schedule is as good as fewer steps by construction, and takes over where no forecast is better.

Multistep samplers such as dpmpp_2m continue the trend of the predictions themselves, so they lose less by fewer steps.
With guidance they have rules of their own, `multistep` below; without it a short run is taken for one of a model that
was distilled to few steps, where forecasts pay as they do with Euler's method.
"""

from __future__ import annotations

from collections.abc import Sequence

from .schedule import Schedule, from_indices
from .uniform import uniform

FEW = 3  # computed evaluations: too few to continue a trend
SHORT = 8  # evaluations: in shorter runs continuing a trend does not help
FINE = 6  # evaluations for each computed one: from here on it does not matter that schedules are rounded to evaluations
CROWDED = 0.8  # time at the middle of the run; 0.75 with a shift of 3, 0.89 with 8
STRONG_CFG = 2.5
UNKNOWN_CFG = 2.5  # of a guider that tells none; the engine takes the same
MULTISTEP_LONG = 16  # evaluations: in shorter runs multistep samplers gain little from forecasts
MANY, LONG = 6, 12  # computed evaluations and evaluations, from where on the whole of a trend is followed
MULTISTEP_FEW, MULTISTEP_MANY = 4, 8  # FEW and MANY of multistep samplers


def has_own_rules(multistep: bool, cfg: float | None) -> bool:
    """Whether a run is under the rules for multistep samplers: a guided one, cfg above 1, as far as is known."""
    return multistep and (UNKNOWN_CFG if cfg is None else cfg) > 1.0


def default_schedule(n: int, k: int, multistep: bool = False) -> Schedule:
    """k of n evaluations, for any model; `multistep`: see has_own_rules.

    Where caching every other evaluation is enough, 2 (n - k) <= n - 2, they lie around three quarters of the run, or as
    near to that as leaves the last one computed: the first and the last evaluations are the worst to forecast. Else the
    distances are even: floor(i n / k) for the mechanism `reuse`, floor(2 i n / (2 k - 1)), half a distance before the
    end, for the others; i = 0..k-1.

    Raises:
        ScheduleError: k outside 1..n.
    """
    even = uniform(n, k)
    cached = n - k
    if 2 * cached <= n - 2:
        last = min(n - 2, 3 * n // 4 + cached - 1)
        skipped = range(last, last - 2 * cached, -2)
        return from_indices((i for i in range(n) if i not in skipped), n)
    if default_mechanism(n, k, multistep)[0] == "reuse":
        return even
    return from_indices((2 * i * n // (2 * k - 1) for i in range(k)), n)


def default_mechanism(n: int, k: int, multistep: bool = False) -> tuple[str, int]:
    """Mechanism and order for k of n evaluations under the default schedule.

    Too few evaluations tell no trend. The full linear one, taylor, is better than the damped one, hermite, only where
    the run is long and much of it computed.
    """
    few, many, long = (MULTISTEP_FEW, MULTISTEP_MANY, MULTISTEP_LONG) if multistep else (FEW, MANY, LONG)
    if n < SHORT or k <= few:
        return "reuse", 1
    return ("hermite", 1) if n < long or k < many else ("taylor", 1)


def least_computed(n: int, k: int, times: Sequence[float], multistep: bool = False, cfg: float | None = 1.0) -> int:
    """The fewest evaluations, k or more, by which the default comes as close as as many steps without a cache.

    That is k, unless the prediction is repeated and the k steps of the shorter run lie between those of this one. Then
    the nearest ones are worse than fewer steps where the noise levels are crowded at the start, as with a shift of 4
    and more, and in every run of a few evaluations of which more than every other is cached. With a multistep sampler
    no schedule of more than half of a short run is as good as fewer steps, with strong guidance none of three quarters.

    Args:
        times: evaluation times, [n].
        cfg: scale of the guidance; None if unknown.
    """
    strong = (UNKNOWN_CFG if cfg is None else cfg) > STRONG_CFG
    middle = (times[n // 2] + times[min(n - 1, (n + 1) // 2)]) / 2
    crowded = middle > CROWDED

    short = n < MULTISTEP_LONG

    def as_good(c: int) -> bool:
        if short and strong and 4 * c >= 3 * n:
            return c == n
        if multistep and short:
            return c == n or n >= FINE * c or FEW <= c <= (n // 2 if n >= SHORT else n - 1)
        if gains(n, c, multistep) or n % c == 0 or n >= FINE * c:
            return True
        alternating = c > FEW and 2 * (n - c) <= n - 2
        return alternating and n - c == 2 if crowded else alternating or c <= FEW < n

    return next(c for c in range(k, n + 1) if as_good(c))


def gains(n: int, k: int, multistep: bool = False) -> bool:
    """Whether the default comes closer to the uncached n steps than k uncached steps do."""
    return k == n or default_mechanism(n, k)[0] != "reuse" or (multistep and k >= FEW)


def may_lose(n: int, k: int) -> bool:
    """Whether a multistep sampler without guidance may come closer by k uncached steps than the default does.

    It does where the model was not made for few steps.
    """
    return SHORT <= n < MULTISTEP_LONG and 2 * k > n
