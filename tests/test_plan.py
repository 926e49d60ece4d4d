"""The plan of a run: which evaluations feed which, where features are taken, and why. Without sampling."""

from __future__ import annotations

import numpy as np
import pytest

from recache.caching import Reason, mechanisms
from recache.caching.evaluations import Evaluations
from recache.caching.feature_kind import FeatureKind, feature_kind
from recache.caching.plan import Phase, Plan, blocks_plan, first_plan, output_plan, sources_of

pytestmark = pytest.mark.usefixtures("host")
TIMES = (1.0, 0.8, 0.6, 0.4, 0.2)
FIVE = Evaluations(sigmas=TIMES, times=TIMES)
PREFERRED = Reason("output_preferred", {"mechanism": "taylor"})
TAYLOR, RESIDUAL, DICACHE = (mechanisms.make(name) for name in ("taylor", "residual", "dicache"))
L2P = mechanisms.L2P(np.eye(5))


def computing(*indices: int, limit: float = 1.0):
    """A scheduler that computes these evaluations, and refuses cached ones that cost more than `limit`."""
    def scheduler(times, cached_cost):
        if cached_cost > limit:
            raise ValueError("too expensive")
        return tuple(i in indices for i in range(len(times)))

    return scheduler


def first(scheduler=None, mechanism=TAYLOR, evaluations=FIVE, cache_point="auto", obstacle=None) -> Plan:
    return first_plan(scheduler or computing(0, 2), mechanism, evaluations, cache_point, obstacle, PREFERRED)


@pytest.mark.parametrize("cached, depth, expected", [
    (1, 2, [0]), (3, 1, [2]), (3, 2, [2, 0]), (4, 2, [2, 0]), (4, 3, [2, 0]), (2, 2, [0])])
def test_a_forecast_has_the_newest_computed_evaluations_before_it(cached, depth, expected):
    assert sources_of(cached, (True, False, True, False, False), range(5), depth) == expected


def test_of_two_evaluations_at_one_time_the_newer_is_the_source():
    schedule, positions = (True, True, True, True, False), (0, 1, 1, 2, 2)  # Heun's
    assert sources_of(4, schedule, positions, 2) == [3, 2]
    assert sources_of(4, schedule, positions, 3) == [3, 2, 0]
    assert sources_of(4, schedule, positions, 9) == [3, 2, 0]


def test_the_output_plan_says_what_is_computed_stored_and_when_caching_ends():
    plan = output_plan(computing(0, 1, 4), TAYLOR, FIVE, Reason("chosen_on_node"))
    assert (plan.phase, plan.cache_point, plan.reason) == (Phase.SETTLED, "output", Reason("chosen_on_node"))
    assert [plan.computes(i) for i in range(6)] == [True, True, False, False, True, False]
    assert [plan.stores(i) for i in range(5)] == [True, True, False, False, False], "nothing is forecast from 4"
    assert plan.last_cached == 3 and plan.caches_from(3) and not plan.caches_from(4)


def test_dicache_is_not_cached_where_blocks_can_not_be():
    plan = output_plan(computing(0, 2), DICACHE, FIVE, Reason("controlnet"))
    assert plan.phase is Phase.UNCACHED and plan.cache_point == "none"
    assert plan.reason == Reason("dicache_needs_blocks", {"because": Reason("controlnet")})
    assert all(plan.computes(i) for i in range(9)) and not plan.caches_from(0)


def test_the_blocks_plan_is_charged_in_whole_percents():
    asked = []

    def scheduler(times, cached_cost):
        asked.append(cached_cost)
        return (True, False, False, True, False)

    plan = blocks_plan(scheduler, RESIDUAL, FIVE, 0.1249, Reason("blocks_possible"))
    assert asked == [0.12] and plan.cached_cost == 0.12 and plan.cache_point == "blocks"
    assert plan.sources == {0, 3} and plan.last_cached == 4


def test_blocks_that_the_budget_can_not_pay_for_are_left_for_the_output():
    plan = blocks_plan(computing(0, 2, limit=0.2), RESIDUAL, FIVE, 0.3, Reason("chosen_on_node"))
    assert plan.cache_point == "output" and plan.cached_cost == 0.0
    assert plan.reason == Reason("cached_too_expensive", {"percent": 30})


@pytest.mark.parametrize("options, phase, cache_point, reason", [
    ({"evaluations": Evaluations(refusal=Reason("sampler_adaptive"))}, Phase.UNCACHED, "none", "sampler_adaptive"),
    ({"scheduler": computing(0, limit=-1.0)}, Phase.UNCACHED, "none", "schedule_refused"),
    *(({"scheduler": computing(*range(5)), "cache_point": point}, Phase.SETTLED, "none", "all_computed")
      for point in ("auto", "blocks", "output")),
    ({"cache_point": "output", "obstacle": Reason("compiled")}, Phase.SETTLED, "output", "chosen_on_node"),
    ({"cache_point": "blocks", "obstacle": Reason("compiled")}, Phase.SETTLED, "output", "compiled"),
    ({"cache_point": "auto"}, Phase.SETTLED, "output", "output_preferred"),
    ({"mechanism": DICACHE, "obstacle": Reason("compiled")}, Phase.UNCACHED, "none", "dicache_needs_blocks"),
    ({"mechanism": L2P, "cache_point": "output"}, Phase.SETTLED, "output", "chosen_on_node"),
    *(({"mechanism": L2P, "cache_point": point, "obstacle": obstacle}, Phase.SETTLED, "output", "output_recorded")
      for point, obstacle in (("auto", None), ("blocks", None), ("blocks", Reason("compiled")))),
])
def test_what_is_known_before_a_run(options, phase, cache_point, reason):
    plan = first(**options)
    assert (plan.phase, plan.cache_point, plan.reason.code) == (phase, cache_point, reason)


@pytest.mark.parametrize("options", [{"cache_point": "blocks"}, {"mechanism": RESIDUAL}, {"mechanism": DICACHE}])
def test_a_plan_that_probes_computes_and_stores_everything(options):
    plan = first(**options)
    assert plan.phase is Phase.PROBING and plan.cache_point == "blocks" and not plan.settled
    assert all(plan.computes(i) and plan.stores(i) and plan.caches_from(i) for i in range(9))


def test_a_run_of_no_evaluations_has_an_empty_plan():
    plan = first(evaluations=Evaluations())
    assert plan.settled and plan.schedule == () and plan.reason is None and not plan.caches_from(0)


@pytest.mark.parametrize("mechanism, stochastic, lowest, cache_point, expected", [
    (TAYLOR, False, 0.2, "output", FeatureKind.DIRECTION), (TAYLOR, True, 0.2, "output", FeatureKind.DENOISED),
    (TAYLOR, False, 0.0, "output", FeatureKind.DENOISED), (RESIDUAL, False, 0.2, "output", FeatureKind.RESIDUAL),
    (RESIDUAL, True, 0.2, "output", FeatureKind.RESIDUAL), (RESIDUAL, False, 0.2, "blocks", FeatureKind.DIRECTION)])
def test_the_kind_of_feature(mechanism, stochastic, lowest, cache_point, expected):
    evaluations = Evaluations((1.0, lowest), (1.0, lowest), stochastic)
    assert feature_kind(evaluations, mechanism, cache_point) is expected


def test_a_reason_has_a_known_code_and_its_own_fields():
    because = Reason("cached_too_expensive", {"percent": 30})
    inner = {"code": "cached_too_expensive", "fields": {"percent": 30}}
    assert Reason("dicache_needs_blocks", {"because": because}).as_json() == {
        "code": "dicache_needs_blocks", "fields": {"because": inner}}
    for code, fields in [("nonsense", {}), ("left_plan", {}), ("no_blocks", {"index": 1})]:
        with pytest.raises(ValueError, match=code):
            Reason(code, fields)
