"""What a policy learns from: the cost of a schedule on a sample, computed once, and counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from ..schedule import Schedule


class Environment(Protocol):
    """Where schedules are tried. A sample is one (noise, conditioning, uncached output)."""

    n: int  # evaluations in a run
    samples: int  # training samples, numbered 0..samples-1
    # shares: bool, optional; what a rollout computes is known to all rollouts of its sample that begin as it does

    def cost(self, schedule: Schedule, sample: int) -> float:
        """L(schedule) on one sample: lower is better, deterministic (the sample fixes the noise)."""
        ...


WORST = 1e30  # what a cost that is not finite counts as: a run that ends in NaN is a bad schedule, not an error


def prefixes(schedule: Schedule) -> Iterator[int]:
    """One number for each computed evaluation: the decisions up to it, as bits, so that equal ones begin alike."""
    decided = 0
    for i in schedule.indices:
        decided |= 1 << i
        yield decided


class Memo:
    """An Environment that asks another one only for what it has not seen, and counts what the answers take.

    Counts are of the questions alone, also where `known` had the answer, so that a resumed search counts what it had
    counted before.

    Attributes:
        asked: sum of k over the costs asked for, each once.
        evaluations: network evaluations that they take: `asked`, or where the environment shares prefixes, the
            computed evaluations among them that no rollout of the same sample had reached by the same decisions.
        rollouts: costs asked for so far, each once.

    Args:
        known: costs from before, {(computed, sample): cost}. To resume, give what `record` was given and start over:
            the same search with the same seed asks the same questions.
        record: called with (computed, sample, cost) for every cost that is computed.
    """

    def __init__(
        self,
        environment: Environment,
        known: Mapping[tuple[tuple[bool, ...], int], float] | None = None,
        record: Callable[[tuple[bool, ...], int, float], None] = lambda computed, sample, cost: None,
    ):
        self.n = environment.n
        self.samples = environment.samples
        self.evaluations = self.asked = self.rollouts = 0
        self._reached: set[tuple[int, int]] | None = set() if getattr(environment, "shares", False) else None
        self._environment = environment
        self._known = known or {}
        self._record = record
        self._asked: dict[tuple[tuple[bool, ...], int], float] = {}

    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Environment; free of charge for a schedule and sample asked before."""
        key = (schedule.computed, sample)
        if key not in self._asked:
            cost = self._known.get(key)
            if cost is None:
                cost = float(self._environment.cost(schedule, sample))
                cost = cost if math.isfinite(cost) else WORST
                self._record(*key, cost)
            self._asked[key] = cost
            self._count(schedule, sample)
        return self._asked[key]

    def _count(self, schedule: Schedule, sample: int) -> None:
        self.rollouts += 1
        self.asked += schedule.k
        if self._reached is None:
            self.evaluations += schedule.k
            return
        before = len(self._reached)
        self._reached.update((sample, beginning) for beginning in prefixes(schedule))
        self.evaluations += len(self._reached) - before

    def mean_cost(self, schedule: Schedule, samples: Iterable[int] | None = None) -> float:
        """Mean over `samples`, all by default."""
        return float(np.mean([self.cost(schedule, s) for s in (range(self.samples) if samples is None else samples)]))


def race(schedules: Sequence[Schedule], memo: Memo) -> Schedule:
    """A good one of them by successive halving: all on an eighth of the samples, the better half on twice as many.

    At least on two: what one sample prefers is often nothing to others. The same schedules in the same order give the
    same one.
    """
    left, count = list(dict.fromkeys(schedules)), max(2, memo.samples // 8)
    while len(left) > 1:
        seen = range(min(count, memo.samples))
        left = sorted(left, key=lambda schedule: memo.mean_cost(schedule, seen))[: len(left) // 2]
        count *= 2
    return left[0]


class RecordedCosts:
    """The environment of a recorded cost tensor: the sum of a schedule's segment costs (see dynamic_program).

    Args:
        cost: [n, n + 1, n + 1], +inf where not measured.
        unmeasured: what a segment that was not measured costs here, so that every schedule has a finite cost.
    """

    samples = 1

    def __init__(self, cost: np.ndarray, unmeasured: float | None = None):
        finite = cost[np.isfinite(cost)]
        self.n = cost.shape[0]
        self._cost = np.where(np.isfinite(cost), cost, 10.0 * finite.max() if unmeasured is None else unmeasured)

    def cost(self, schedule: Schedule, sample: int = 0) -> float:
        """Sum over computed evaluations j of cost[the one before j, j, the one after j]."""
        computed = (0, *schedule.indices, self.n)
        return float(sum(self._cost[segment] for segment in zip(computed, computed[1:], computed[2:], strict=False)))
