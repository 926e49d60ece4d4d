"""Races between schedules: which is better on all samples, decided on as few of them as possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..schedule import Schedule
from .environment import Memo

Entry = TypeVar("Entry")
MIN_SAMPLES = 3  # before a candidate may be dropped


def halving(entries: Sequence[Entry], samples: int, cost: Callable[[Entry, Sequence[int]], float],
            before_round: Callable[[Sequence[Entry], Sequence[int]], None] = lambda entries, samples: None,
            should_stop: Callable[[], bool] = lambda: False) -> list[Entry]:
    """Successive halving: all on an eighth of the samples, the better half on twice as many, and so on.

    Begins with at least two samples, because one sample is often misleading. Deterministic.

    Args:
        samples: number of samples. cost: mean of an entry over some of them; lower is better.
        before_round: called with the entries and samples of every round.
        should_stop: called before every cost; True ends the race as it stands after the last whole round.

    Returns:
        The entries, the winner first; those that came farther stand before the others.
    """
    ranked, left, count = list(entries), len(entries), max(2, samples // 8)
    while left > 1 and not should_stop():
        some = range(min(count, samples))
        before_round(ranked[:left], some)
        costs = []
        for entry in ranked[:left]:
            if should_stop():
                return ranked
            costs.append(cost(entry, some))
        ranked[:left] = [ranked[i] for i in sorted(range(left), key=costs.__getitem__)]
        left, count = left // 2, 2 * count
    return ranked


def entries_run(entries: int, samples: int) -> int:
    """How often `halving` asks for the cost of an entry on a sample, if every cost is known afterwards; and the winner
    on the samples that are left."""
    runs, left, before, count = 0, entries, 0, max(2, samples // 8)
    while left > 1:
        runs += left * (min(count, samples) - before)
        left, before, count = left // 2, min(count, samples), 2 * count
    return runs + samples - before


def successive_halving(schedules: Sequence[Schedule], memo: Memo,
                       should_stop: Callable[[], bool] = lambda: False) -> Schedule:
    """The winner of `halving` among schedules."""
    return halving(list(dict.fromkeys(schedules)), memo.samples, memo.mean_cost,
                   lambda left, some: memo.prefetch((schedule, sample) for sample in some for schedule in left),
                   should_stop)[0]


def beats(candidate: Schedule, incumbent: Schedule, memo: Memo, out_of_budget: Callable[[], bool]) -> bool:
    """Whether the candidate's mean cost is lower; it loses once it is behind on MIN_SAMPLES samples or more.

    Args:
        out_of_budget: called before every sample; True ends the race in favour of the incumbent.
    """
    if candidate.computed == incumbent.computed:
        return False
    lead = 0.0
    for count, sample in enumerate(range(memo.samples), 1):
        if out_of_budget():
            return False
        if sample in (0, MIN_SAMPLES):
            end = MIN_SAMPLES if sample == 0 else memo.samples
            memo.prefetch((candidate, s) for s in range(memo.samples)[sample:end])
        lead += memo.cost(incumbent, sample) - memo.cost(candidate, sample)
        if lead <= 0 and count >= MIN_SAMPLES:
            return False
    return lead > 0
