"""Races between schedules: which is better on all samples, decided on as few of them as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import stdev

from ..schedule import Schedule
from .environment import Memo

_MIN_SAMPLES = 3  # before a candidate may be dropped for being significantly behind


def successive_halving(schedules: Sequence[Schedule], memo: Memo) -> Schedule:
    """The winner of successive halving: all on an eighth of the samples, then the better half on twice as many.

    Begins with at least two samples, because one sample is often misleading. Deterministic.
    """
    left, count = list(dict.fromkeys(schedules)), max(2, memo.samples // 8)
    while len(left) > 1:
        samples = range(min(count, memo.samples))
        left = sorted(left, key=lambda schedule: memo.mean_cost(schedule, samples))[: len(left) // 2]
        count *= 2
    return left[0]


def beats(
    candidate: Schedule,
    incumbent: Schedule,
    memo: Memo,
    z: float,
    screen: float,
    hardest_first: bool = True,
    out_of_budget: Callable[[], bool] = lambda: False,
) -> bool:
    """Whether the candidate's mean cost over all samples is lower, by more than z standard errors of the difference.

    Args:
        z: also drops a candidate that is z standard errors behind, from three samples on; 0 or more.
        screen: share of the samples, above 0 and at most 1, after which a candidate is dropped if it is behind at all.
        hardest_first: order of the samples: by the incumbent's cost, highest first.
        out_of_budget: asked before every rollout; ends the race in favour of the incumbent.
    """
    if candidate.computed == incumbent.computed:
        return False
    leads: list[float] = []
    margin = 0.0
    order = _hardest_first(incumbent, memo, out_of_budget) if hardest_first else range(memo.samples)
    for count, sample in enumerate(order, 1):
        if out_of_budget():
            return False
        leads.append(memo.cost(incumbent, sample) - memo.cost(candidate, sample))
        margin = z * _deviation(leads) * count**0.5
        screened = count >= screen * memo.samples
        behind = sum(leads) <= 0 if screened else sum(leads) < -margin and count >= _MIN_SAMPLES
        if behind:
            return False
    return sum(leads) > margin


def _hardest_first(schedule: Schedule, memo: Memo, out_of_budget: Callable[[], bool]) -> list[int]:
    """All samples by cost, highest first; none if the budget runs out on the way."""
    for sample in range(memo.samples):
        if out_of_budget():
            return []
        memo.cost(schedule, sample)
    return sorted(range(memo.samples), key=lambda sample: -memo.cost(schedule, sample))


def _deviation(values: list[float]) -> float:
    """Standard deviation; 0 for a single value."""
    return stdev(values) if len(values) > 1 else 0.0
