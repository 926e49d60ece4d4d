"""What a policy learns from: the cost of a schedule on a sample, computed once, and counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import numpy as np

from .schedule import Schedule


class Environment(Protocol):
    """Where schedules are tried. A sample is one (noise, conditioning, uncached output)."""

    n: int  # evaluations in a run
    samples: int  # training samples, numbered 0..samples-1

    def cost(self, schedule: Schedule, sample: int) -> float:
        """L(schedule) on one sample: lower is better, deterministic (the sample fixes the noise)."""
        ...


WORST = 1e30  # what a cost that is not finite counts as: a run that ends in NaN is a bad schedule, not an error


class Memo:
    """An Environment that asks another one only for what it has not seen, and counts what the answers take.

    Attributes:
        evaluations: network evaluations so far: k for every cost asked for the first time, also where `known` had it,
            so that a resumed search counts what it had counted before.
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
        self.evaluations = 0
        self.rollouts = 0
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
            self.evaluations += schedule.k
            self.rollouts += 1
        return self._asked[key]

    def mean_cost(self, schedule: Schedule, samples: Iterable[int] | None = None) -> float:
        """Mean over `samples`, all by default."""
        return float(np.mean([self.cost(schedule, s) for s in (range(self.samples) if samples is None else samples)]))


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
