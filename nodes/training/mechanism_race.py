"""The mechanisms of a training whose mechanism is "auto": for every k candidates race on its samples.

Every candidate is tried with schedules that need no rollouts: the default one, one with a denser beginning, and the
dynamic program's for its own recorded forecast errors. With few evaluations computed the best schedules begin densely,
and which mechanism is best there shows only on such a one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...caching import AUTO, mechanisms
from ...caching.evaluations import Evaluations
from ...caching.feature_kind import FeatureKind
from ...caching.recording import Recorded, segment_costs, segment_errors, step_weights
from ...policies.defaults import default_schedule
from ...policies.learning.dynamic_program import solve
from ...policies.learning.environment import Memo
from ...policies.learning.racing import halving
from ...policies.power_law import power_law
from ...policies.schedule import Schedule
from .request import Entry, Request
from .starts import DENSITY_POWERS, DP_POWER, MAX_PROGRAM

CANDIDATES: tuple[Entry, ...] = (
    ("taylor", 1), ("hermite", 1), ("meancache", 1), ("reuse", 1), ("taylor", 2), ("l2p", 1))
"""All cache the same features, so that one recording and one probe serve all of them."""

MOST = {("reuse", 1): 6}  # computed evaluations, from where on a trend is always better than none
LEAST = {("taylor", 2): 6}  # computed evaluations, below which there is no second difference to follow


def label(mechanism: str, order: int) -> str:
    """"taylor 1"; without the order where a mechanism has none."""
    return f"{mechanism} {order}" if mechanisms.has_order(mechanism) else mechanism


def entrants(request: Request, k: int, default: Entry, has_gram: bool = True) -> list[Entry]:
    """The entries of the race for k: the artist's choice alone, or the default where a training is quick.

    Args:
        has_gram: whether there are inner products of recorded runs, which some mechanisms need.
    """
    if request.mechanism != AUTO:
        return [(request.mechanism, request.order)]
    if request.quick:
        return [default]
    return [entry for entry in CANDIDATES if LEAST.get(entry, 1) <= k <= MOST.get(entry, k)
            and (has_gram or not mechanisms.class_of(entry[0]).needs_gram)]


@dataclass(frozen=True)
class Candidate:
    """A mechanism in the races.

    Attributes:
        memo: the training samples under this mechanism.
        tried: {k: schedules that it is tried with}.
    """

    entry: Entry
    memo: Memo
    tried: dict[int, list[Schedule]]

    def cost(self, k: int, samples: Sequence[int]) -> float:
        """Mean cost of the best schedule over these samples."""
        return min(self.memo.mean_cost(schedule, samples) for schedule in self.tried[k])

    def best(self, k: int) -> Schedule:
        """The best of its schedules on the first samples, as many as a race begins with."""
        some = range(min(2, self.memo.samples))
        return min(self.tried[k], key=lambda schedule: self.memo.mean_cost(schedule, some))


def tried_schedules(ks: Sequence[int], evaluations: Evaluations, gram: np.ndarray, kind: FeatureKind,
                    mechanism: mechanisms.Mechanism, own_rules: bool = False) -> dict[int, list[Schedule]]:
    """{k: schedules that are found without rollouts}.

    Args:
        gram, kind: see caching.recording; ignored if gram is not [n, n] because an evaluation was not recorded.
        own_rules: of the default schedule (see policies.defaults).
    """
    n, times = len(evaluations), evaluations.times
    found = {k: [Schedule(schedule.computed, times)
                 for schedule in (default_schedule(n, k, own_rules), power_law(n, k, DENSITY_POWERS[0]))] for k in ks}
    if len(gram) == n <= MAX_PROGRAM:
        errors = segment_errors(Recorded(gram, evaluations.positions, mechanism))
        weights = step_weights(evaluations.sigmas, DP_POWER, kind)
        for k, schedule in solve(segment_costs(errors, weights), ks, times).items():
            found[k].append(schedule)
    return found


def race(candidates: Sequence[Candidate], k: int, should_stop: Callable[[], bool] = lambda: False) -> list[Candidate]:
    """The candidates after successive halving at k, the winner first; the first one, where it is stopped at once."""
    def before_round(left: Sequence[Candidate], samples: Sequence[int]) -> None:
        for candidate in left:
            candidate.memo.prefetch((schedule, sample) for sample in samples for schedule in candidate.tried[k])

    return halving(candidates, candidates[0].memo.samples, lambda each, samples: each.cost(k, samples), before_round,
                   should_stop)
