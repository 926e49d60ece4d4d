"""The mechanism of a training whose mechanism is "auto": candidates race on its samples.

Every candidate is tried with schedules that need no rollouts: the default one, and the dynamic program's for its own
recorded forecast errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from ...caching import AUTO, mechanisms
from ...caching.dry_run import Evaluations
from ...caching.feature_kind import FeatureKind
from ...caching.recording import Recorded, segment_costs, segment_errors, step_weights
from ...policies.defaults import default_schedule
from ...policies.learning.dynamic_program import solve
from ...policies.learning.environment import Memo
from ...policies.learning.racing import halving
from ...policies.schedule import Schedule
from .request import Request
from .starts import DP_POWER

CANDIDATES = (("taylor", 1), ("hermite", 1), ("meancache", 1), ("reuse", 1), ("taylor", 2), ("l2p", 1))
"""Mechanisms and orders. All cache the same features, so that one recording and one probe serve all of them."""


def label(mechanism: str, order: int) -> str:
    """"taylor 1"; without the order where a mechanism has none."""
    return f"{mechanism} {order}" if mechanisms.has_order(mechanism) else mechanism


def entrants(request: Request, default: tuple[str, int]) -> Sequence[tuple[str, int]]:
    """The mechanisms and orders that race: the artist's alone, or the default one's where a training is quick."""
    if request.mechanism != AUTO:
        return ((request.mechanism, request.order),)
    return (default,) if request.quick else CANDIDATES


@dataclass(frozen=True)
class Candidate:
    """A mechanism in the race.

    Attributes:
        memo: the training samples under this mechanism.
        tried: {k: schedules that it is tried with}.
    """

    memo: Memo
    tried: dict[int, list[Schedule]]

    def cost(self, k: int, samples: Sequence[int]) -> float:
        """Mean cost of the best schedule over these samples."""
        return min(self.memo.mean_cost(schedule, samples) for schedule in self.tried[k])


def tried_schedules(ks: Sequence[int], evaluations: Evaluations, gram: np.ndarray, kind: FeatureKind,
                    mechanism: mechanisms.Mechanism, own_rules: bool = False) -> dict[int, list[Schedule]]:
    """{k: schedules that are found without rollouts}.

    Args:
        gram, kind: see caching.recording; ignored if gram is not [n, n] because an evaluation was not recorded.
        own_rules: of the default schedule (see policies.defaults).
    """
    n, times = len(evaluations), evaluations.times
    found = {k: [Schedule(default_schedule(n, k, own_rules).computed, times)] for k in ks}
    if len(gram) == n:
        errors = segment_errors(Recorded(gram, evaluations.positions, mechanism))
        weights = step_weights(evaluations.sigmas, DP_POWER, kind)
        for k, schedule in solve(segment_costs(errors, weights), ks, times).items():
            found[k].append(schedule)
    return found


def race(candidates: Sequence[Candidate]) -> Candidate:
    """The winner of successive halving, by the costs relative to the first candidate's, summed over k."""
    first = candidates[0]

    @cache
    def scale(k: int) -> float:
        return abs(first.cost(k, range(min(2, first.memo.samples)))) or 1.0

    def cost(candidate: Candidate, samples: Sequence[int]) -> float:
        return sum(candidate.cost(k, samples) / scale(k) for k in first.tried)

    def before_round(left: Sequence[Candidate], samples: Sequence[int]) -> None:
        for candidate in left:
            candidate.memo.prefetch((schedule, sample) for sample in samples
                                    for schedules in candidate.tried.values() for schedule in schedules)

    return halving(candidates, first.memo.samples, cost, before_round)
