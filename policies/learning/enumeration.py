"""Exhaustive search: every schedule of k of n evaluations, where the evaluations allow it (small n)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from heapq import merge
from itertools import combinations, islice
from math import comb

from ..schedule import Schedule, from_indices
from .elites import Elites
from .environment import Memo, MemoByK

SCHEDULES_AT_ONCE = 16  # of an environment that computes several rollouts at once, for each of them


def every_schedule(n: int, ks: Collection[int], times: tuple[float, ...] | None = None) -> Iterator[Schedule]:
    """All schedules of k of n evaluations, for every k of `ks` (each in 1..n), in lexicographic order of their indices.

    This is depth first: schedules with a common prefix follow each other, so a prefix cache that holds one schedule's
    outputs for each sample computes no prefix twice.
    """
    for later in merge(*(combinations(range(1, n), k - 1) for k in ks)):
        yield from_indices((0, *later), n, times)


def evaluations_of_every_schedule(n: int, ks: Collection[int], shares: bool) -> int:
    """Network evaluations of all schedules of k of n, for every k of `ks`, on one sample, as Memo counts them.

    Args:
        shares: whether schedules share common prefixes. There are comb(j - 1, c - 2) prefixes of c computed evaluations
            that end in evaluation j; a schedule of k begins with one if k - c more evaluations fit after j.
    """
    if not shares:
        return sum(k * comb(n - 1, k - 1) for k in ks)
    return 1 + sum(
        comb(j - 1, c - 2)
        for c in range(2, max(ks) + 1) for j in range(c - 1, n) if any(c <= k < c + n - j for k in ks))


def can_try_all(memo: Memo | MemoByK, ks: Collection[int], evaluations: int) -> bool:
    """Whether all schedules of every k, on all samples, fit into so many network evaluations with those so far."""
    if memo.samples * evaluations_of_every_schedule(memo.n, ks, memo.shares) > evaluations:
        return False  # there may be too many to be counted one by one
    return memo.evaluations + memo.missing(every_schedule(memo.n, ks)) <= evaluations


def try_all(elites: Elites, memo: Memo | MemoByK, out_of_budget: Callable[[], bool]) -> None:
    """Make the best of all schedules, by mean cost over all samples, the elite of its k.

    Args:
        out_of_budget: called before every rollout; True ends the search with the best so far.
    """
    def is_better(candidate: Schedule, elite: Schedule) -> bool:
        return memo.mean_cost(candidate) < memo.mean_cost(elite)

    some_elite = next(iter(elites.schedules.values()))
    schedules = every_schedule(memo.n, elites.schedules, some_elite.times)
    while batch := list(islice(schedules, SCHEDULES_AT_ONCE * memo.width)):
        memo.prefetch((schedule, sample) for sample in range(memo.samples) for schedule in batch)
        for schedule in batch:
            for sample in range(memo.samples):
                if out_of_budget():
                    return
                memo.cost(schedule, sample)
            elites.challenge(schedule.k, schedule, is_better)
