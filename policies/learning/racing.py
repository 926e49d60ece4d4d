"""Races between schedules: which is better on all samples, decided on as few of them as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..schedule import Schedule
from .environment import Memo

MIN_SAMPLES = 3  # before a candidate may be dropped


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


def beats(candidate: Schedule, incumbent: Schedule, memo: Memo, out_of_budget: Callable[[], bool]) -> bool:
    """Whether the candidate's mean cost over all samples is lower; it loses once it is behind after three of them.

    Args:
        out_of_budget: asked before every sample; ends the race in favour of the incumbent.
    """
    if candidate.computed == incumbent.computed:
        return False
    lead = 0.0
    for count, sample in enumerate(range(memo.samples), 1):
        if out_of_budget():
            return False
        lead += memo.cost(incumbent, sample) - memo.cost(candidate, sample)
        if lead <= 0 and count >= MIN_SAMPLES:
            return False
    return lead > 0
