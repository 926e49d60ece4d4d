"""The schedules that learning starts from, found by races on training samples and from recorded runs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ...caching.evaluations import Evaluations
from ...caching.feature_kind import FeatureKind
from ...caching.mechanisms import Mechanism
from ...caching.recording import Recorded, segment_costs, segment_errors, step_weights, summed_error
from ...policies.defaults import default_schedule
from ...policies.learning.dynamic_program import solve
from ...policies.learning.environment import Memo
from ...policies.learning.local_search import hill_climb
from ...policies.learning.racing import successive_halving
from ...policies.power_law import power_law
from ...policies.schedule import Schedule

WEIGHT_POWERS = (0.5, 1.0, 0.25, 0.75)  # see recording.step_weights; the best differs between models and k
DP_POWER = 0.5
DENSITY_POWERS = (1.25, 1.1)  # see policies.power_law; 1 is the default schedule
MAX_PROGRAM = 128  # evaluations of a run; the dynamic program takes n^3 steps, half a minute at 200
MAX_STARTS = 1 + len(DENSITY_POWERS) + 2 * len(WEIGHT_POWERS)  # in a race


def find_starts(ks: list[int], evaluations: Evaluations, gram: np.ndarray, kind: FeatureKind, mechanism: Mechanism,
                memo: Memo, own_rules: bool = False, most: int = MAX_STARTS,
                should_stop: Callable[[], bool] = lambda: False) -> dict[str, dict[int, Schedule]]:
    """{"default", "start": {k: schedule}}.

    The start is the winner of a race on the training samples between the default schedule, power laws and, from the
    recorded forecast errors, the dynamic program's schedules for several weightings and the local optima near them.

    Args:
        gram, kind: see recording; ignored if gram is not [n, n] because an evaluation was not recorded.
        memo: the training samples. own_rules: of the default schedule (see policies.defaults).
        most: candidates of the race. should_stop: see racing.halving.
    """
    n, times = len(evaluations), evaluations.times

    def timed(schedule: Schedule) -> Schedule:
        return Schedule(schedule.computed, times)

    default = {k: timed(default_schedule(n, k, own_rules)) for k in ks}
    candidates = {k: [default[k], *(timed(power_law(n, k, power)) for power in DENSITY_POWERS)] for k in ks}
    if len(gram) == n <= MAX_PROGRAM:
        for k, schedules in recorded_starts(ks, evaluations, gram, kind, mechanism).items():
            candidates[k] += schedules
    distinct = {k: list(dict.fromkeys(schedules))[:most] for k, schedules in candidates.items()}
    return {"default": default, "start": {k: successive_halving(distinct[k], memo, should_stop) for k in ks}}


def recorded_starts(ks: list[int], evaluations: Evaluations, gram: np.ndarray, kind: FeatureKind,
                    mechanism: Mechanism) -> dict[int, list[Schedule]]:
    """{k: the dynamic program's schedule for every weighting, and the local optimum near it of the summed error}."""
    recorded = Recorded(gram, evaluations.positions, mechanism)
    errors = segment_errors(recorded)
    found: dict[int, list[Schedule]] = {k: [] for k in ks}
    for power in WEIGHT_POWERS:
        weights = step_weights(evaluations.sigmas, power, kind)
        programs = solve(segment_costs(errors, weights), ks, evaluations.times)

        @cache
        def error(schedule: Schedule, weights=weights) -> float:
            return summed_error(recorded, schedule.indices, weights)

        for k in ks:
            found[k] += [programs[k], hill_climb(error, programs[k])]
    return found
