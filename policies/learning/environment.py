"""The learner's environment: the cost of a schedule on a sample, and a memo that counts network evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from ..schedule import Schedule

Pairs = Iterable[tuple[Schedule, int]]


class Environment:
    """Runs schedules on samples; a sample is one (noise, conditioning, uncached output). Subclasses say what they cost.

    Attributes:
        n: evaluations in a run.
        samples: their number; they are numbered from 0.
        shares: whether rollouts of one sample with a common prefix compute it once.
        width: how many rollouts `costs` computes at once.
    """

    n: int
    samples: int
    shares: bool = False
    width: int = 1

    def cost(self, schedule: Schedule, sample: int) -> float:
        """L(schedule) on one sample: lower is better, deterministic (the sample fixes the noise)."""
        raise NotImplementedError

    def costs(self, pairs: Pairs) -> Iterable[tuple[tuple[Schedule, int], float]]:
        """(pair, cost) of (schedule, sample) pairs, in any order, as they come; `cost` is asked for those left out."""
        return ()

    def made(self, schedule: Schedule) -> Schedule:
        """The schedule that its run has, of as many computed evaluations."""
        return schedule


WORST = 1e30  # replaces a cost that is not finite: a run that ends in NaN is a bad schedule, not an error


def prefixes(schedule: Schedule) -> Iterator[int]:
    """For each computed evaluation the prefix that ends in it, as an int with a bit for each computed evaluation."""
    decided = 0
    for i in schedule.indices:
        decided |= 1 << i
        yield decided


class Memo:
    """An Environment that memoises another one and counts the network evaluations of distinct rollouts.

    Costs in `known` are counted like computed ones, so that a resumed search has the counts of an uninterrupted one.

    Attributes:
        shares: whether the environment shares prefixes.
        width: rollouts that the environment computes at once.
        rollouts: distinct (schedule, sample) pairs so far.
        unshared: network evaluations that they take without sharing prefixes: the sum of their k.
        evaluations: network evaluations that they take: `unshared` or, where prefixes are shared, the number of
            distinct prefixes of each sample that end in a computed evaluation.

    Args:
        known: costs of an earlier run, {(computed, sample): cost}. With all costs that `record` got, a search with the
            same seed repeats the earlier one without rollouts.
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
        self.evaluations = self.unshared = self.rollouts = 0
        self.shares, self.width = environment.shares, environment.width
        self._reached: set[tuple[int, int]] = set()
        self._environment = environment
        self._known = dict(known or {})
        self._record = record
        self._costs: dict[tuple[tuple[bool, ...], int], float] = {}

    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Environment; a pair of schedule and sample is evaluated and counted once."""
        schedule = self._environment.made(schedule)
        key = (schedule.computed, sample)
        if key not in self._costs:
            cost = self._known.get(key)
            if cost is None:
                cost = self._recorded(key, self._environment.cost(schedule, sample))
            self._costs[key] = cost
            self._count(schedule, sample)
        return self._costs[key]

    def prefetch(self, pairs: Pairs) -> None:
        """Have the environment compute costs that will, or may, be asked for, where it computes several at once.

        Nothing is counted before it is asked for, so a search takes the same course whatever was prefetched.
        """
        if self.width > 1:
            made = dict.fromkeys((self._environment.made(schedule), sample) for schedule, sample in pairs)
            missing = [pair for pair in made if not self.has(*pair)]
            for (schedule, sample), cost in self._environment.costs(missing) if missing else ():
                self._known[schedule.computed, sample] = self._recorded((schedule.computed, sample), cost)

    def has(self, schedule: Schedule, sample: int) -> bool:
        """Whether the cost is known without a rollout."""
        key = (self._environment.made(schedule).computed, sample)
        return key in self._costs or key in self._known

    def _recorded(self, key: tuple[tuple[bool, ...], int], cost: float) -> float:
        cost = float(cost) if math.isfinite(cost) else WORST
        self._record(*key, cost)
        return cost

    def _count(self, schedule: Schedule, sample: int) -> None:
        self.rollouts += 1
        self.unshared += schedule.k
        if not self.shares:
            self.evaluations += schedule.k
            return
        before = len(self._reached)
        self._reached.update((sample, prefix) for prefix in prefixes(schedule))
        self.evaluations += len(self._reached) - before

    def mean_cost(self, schedule: Schedule, samples: Iterable[int] | None = None) -> float:
        """Mean over `samples`, all by default."""
        samples = range(self.samples) if samples is None else list(samples)
        self.prefetch((schedule, s) for s in samples)
        return float(np.mean([self.cost(schedule, s) for s in samples]))

    def missing(self, schedules: Iterable[Schedule]) -> int:
        """The network evaluations that the costs of these schedules, on all samples, would add."""
        unshared, ends = 0, set()
        for schedule in map(self._environment.made, schedules):
            samples = [s for s in range(self.samples) if (schedule.computed, s) not in self._costs]
            unshared += schedule.k * len(samples)
            ends.update((s, prefix) for prefix in prefixes(schedule) for s in samples)
        return len(ends - self._reached) if self.shares else unshared


class MemoByK:
    """A Memo for every k, used as one Memo; for k that are run in different ways, such as by different mechanisms.

    Args:
        memos: of every k; all have the same runs and samples.
        others: whose evaluations are counted too.
    """

    def __init__(self, memos: Mapping[int, Memo], others: Iterable[Memo] = ()):
        first = next(iter(memos.values()))
        self.n, self.samples, self.width, self.shares = first.n, first.samples, first.width, first.shares
        self._memos, self._all = memos, list(dict.fromkeys((*memos.values(), *others)))

    @property
    def evaluations(self) -> int:
        """See Memo."""
        return sum(memo.evaluations for memo in self._all)

    @property
    def unshared(self) -> int:
        """See Memo."""
        return sum(memo.unshared for memo in self._all)

    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Memo."""
        return self._memos[schedule.k].cost(schedule, sample)

    def mean_cost(self, schedule: Schedule, samples: Iterable[int] | None = None) -> float:
        """See Memo."""
        return self._memos[schedule.k].mean_cost(schedule, samples)

    def prefetch(self, pairs: Pairs) -> None:
        """See Memo."""
        pairs = list(pairs)
        for memo in self._all:
            memo.prefetch(pair for pair in pairs if self._memos[pair[0].k] is memo)

    def has(self, schedule: Schedule, sample: int) -> bool:
        """See Memo."""
        return self._memos[schedule.k].has(schedule, sample)

    def missing(self, schedules: Iterable[Schedule]) -> int:
        """See Memo."""
        schedules = list(schedules)
        return sum(memo.missing(s for s in schedules if self._memos[s.k] is memo) for memo in self._all)
