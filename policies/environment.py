"""What a policy learns from: the cost of a schedule on a sample, computed once, and counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from .schedule import Schedule


class Environment(Protocol):
    """Where schedules are tried. A sample is one (noise, conditioning, uncached output)."""

    n: int  # evaluations in a run
    samples: int  # training samples, numbered 0..samples-1

    def cost(self, schedule: Schedule, sample: int) -> float:
        """L(schedule) on one sample: finite, lower is better, deterministic (the sample fixes the noise)."""
        ...


class Memo:
    """An Environment that asks another one only for what it has not seen, and counts what the answers took.

    Attributes:
        evaluations: network evaluations spent so far, k for every cost that was really computed.
        rollouts: costs that were really computed.
    """

    def __init__(self, environment: Environment):
        self.n = environment.n
        self.samples = environment.samples
        self.evaluations = 0
        self.rollouts = 0
        self._environment = environment
        self._known: dict[tuple[tuple[bool, ...], int], float] = {}

    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Environment; free of charge for a schedule and sample asked before."""
        key = (schedule.computed, sample)
        if key not in self._known:
            self._known[key] = float(self._environment.cost(schedule, sample))
            self.evaluations += schedule.k
            self.rollouts += 1
        return self._known[key]

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
