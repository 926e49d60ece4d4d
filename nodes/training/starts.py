"""The schedules that learning starts from, computed from recorded uncached runs without another network evaluation."""

from __future__ import annotations

from functools import cache

import numpy as np

from ...caching.dry_run import Evaluations
from ...caching.feature_kind import FeatureKind
from ...caching.mechanisms import Mechanism
from ...caching.recording import Recorded, segment_costs, segment_errors, step_weights, summed_error
from ...policies.learning.dynamic_program import solve
from ...policies.learning.environment import Memo
from ...policies.learning.local_search import hill_climb
from ...policies.learning.racing import successive_halving
from ...policies.schedule import Schedule
from ...policies.uniform import uniform

POWERS = (0.25, 0.5, 0.75, 1.0)  # see recording.step_weights; the best differs between models and k
DP_POWER = 0.5


def recorded_starts(ks: list[int], evaluations: Evaluations, gram: np.ndarray, kind: FeatureKind, mechanism: Mechanism,
                    memo: Memo) -> dict[str, dict[int, Schedule]]:
    """{"uniform", "dp", "recorded": {k: schedule}}.

    "dp" is the dynamic program's for one weighting of errors. "recorded" wins a race on the training samples between
    the dynamic program's for several weightings and the local optima near them of the summed forecast error.

    Args:
        gram, kind: see recording; ignored if gram is not [n, n], because an evaluation was not recorded.
        memo: the training samples.
    """
    n, times = len(evaluations), evaluations.times
    even = {k: Schedule(uniform(n, k).computed, times) for k in ks}
    if len(gram) != n:
        return {"uniform": even}
    recorded = Recorded(gram, evaluations.positions, mechanism)
    errors = segment_errors(recorded)
    candidates: dict[int, list[Schedule]] = {k: [] for k in ks}
    programs = {}
    for power in POWERS:
        weights = step_weights(evaluations.sigmas, power, kind)
        programs[power] = solve(segment_costs(errors, weights), ks, times)

        @cache
        def error(schedule: Schedule, weights=weights) -> float:
            return summed_error(recorded, schedule.indices, weights)

        for k in ks:
            candidates[k] += [programs[power][k], hill_climb(error, programs[power][k])]
    recorded_best = {k: successive_halving(candidates[k], memo) for k in ks}
    return {"uniform": even, "dp": programs[DP_POWER], "recorded": recorded_best}
