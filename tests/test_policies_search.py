"""The dynamic program against brute force; moves, hill climbing, annealing; recorded costs of published models."""

import itertools
import random

import numpy as np
import pytest

from recache.policies.learning.dynamic_program import solve
from recache.policies.learning.environment import Environment, Memo
from recache.policies.learning.local_search import hill_climb, shifts, singles
from recache.policies.learning.racing import successive_halving
from recache.policies.schedule import ScheduleError, from_indices
from recache.policies.uniform import uniform
from tests.bench.annealing import AnnealingConfig, anneal, random_start
from tests.bench.baselines import RecordedCosts, front_loaded, published_cost


def random_costs(n, seed, holes=0.0):
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0, 1, (n, n + 1, n + 1))
    cost[rng.uniform(size=cost.shape) < holes] = np.inf
    return cost


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("holes", [0.0, 0.3])
def test_dynamic_program_is_brute_force(seed, holes):
    n = 8
    cost = random_costs(n, seed, holes)
    found = solve(cost, range(1, n + 1))
    for k in range(1, n + 1):
        totals = {}
        for others in itertools.combinations(range(1, n), k - 1):
            path = (0, 0, *others, n)
            totals[path[1:-1]] = sum(cost[path[i : i + 3]] for i in range(k))
        best = min(totals.values())
        if np.isfinite(best):
            assert totals[found[k].indices] == pytest.approx(best, abs=1e-12)
            environment = RecordedCosts(cost)
            assert environment.cost(found[k]) == pytest.approx(best)
        else:
            assert k not in found


def test_dynamic_program_refuses_what_are_no_costs():
    cost = random_costs(5, 0)
    for bad, ks in (
        (cost[0], [2]),
        (cost[:, :, :4], [2]),
        (np.full_like(cost, np.nan), [2]),
        (-cost, [2]),
        (cost, [0, 2]),
        (cost, [6]),
    ):
        with pytest.raises(ScheduleError):
            solve(bad, ks)
    assert solve(cost, []) == {}


def test_schedules_that_were_not_measured_cost_more_than_any_that_were():
    cost = random_costs(8, 0, holes=0.3)
    environment = RecordedCosts(cost)
    best = solve(cost, [4])[4]
    path = (0, 1, 2, 3)
    cost[0, 0, 1] = np.inf
    assert environment.cost(best) < RecordedCosts(cost).cost(from_indices(path, 8)) < np.inf


def test_moves_keep_k_and_the_first_evaluation():
    for schedule in (uniform(20, 6), front_loaded(20, 6), uniform(5, 1), uniform(5, 5), from_indices([0, 18, 19], 20)):
        for move in (*singles(schedule, 3), *shifts(schedule)):
            assert move.fits(schedule)
            moved = move.apply(schedule)
            assert moved.k == schedule.k and moved.computed[0] and moved != schedule
    assert {m.apply(from_indices([0, 2], 5)).indices for m in singles(from_indices([0, 2], 5), 3)} == {
        (0, 1), (0, 3), (0, 4),
    }  # fmt: skip
    assert {m.apply(from_indices([0, 2, 3], 5)).indices for m in shifts(from_indices([0, 2, 3], 5))} == {
        (0, 1, 2), (0, 3, 4),
    }  # fmt: skip


def test_front_loaded_is_exact_for_every_k():
    assert front_loaded(50, 7).indices[:3] == (0, 1, 2)
    for n in (1, 2, 7, 50):
        for k in range(1, n + 1):
            assert front_loaded(n, k).k == k


def test_hill_climbing_ends_in_a_local_optimum():
    environment = Memo(RecordedCosts(random_costs(14, 1)))
    best = hill_climb(environment.mean_cost, uniform(14, 5), rounds=1000)
    assert all(environment.mean_cost(m.apply(best)) >= environment.mean_cost(best) for m in singles(best, 3))
    assert environment.mean_cost(best) < environment.mean_cost(uniform(14, 5))
    assert hill_climb(environment.mean_cost, uniform(14, 14)) == uniform(14, 14)


def test_annealing_is_near_the_optimum_and_keeps_its_prefix():
    cost = random_costs(14, 2)
    environment = RecordedCosts(cost)
    rng = random.Random(0)
    for k in (1, 4, 9, 14):
        start = random_start(14, k, rng)
        best = anneal(environment.cost, start, AnnealingConfig(), rng)
        assert best.k == k and all(best.computed[: max(1, k // 4)])
        assert environment.cost(best) <= environment.cost(start)
        assert environment.cost(best) <= 1.5 * environment.cost(solve(cost, [k])[k])


@pytest.mark.parametrize("model", ["flux", "wan_i2v"])
def test_the_dynamic_program_finds_the_optimum_of_published_costs(model):
    cost = published_cost(model)
    environment, n = RecordedCosts(cost), len(cost)
    every = (from_indices((0, *rest), n) for rest in itertools.combinations(range(1, n), 3))
    measured = [s for s in every if np.isfinite(cost[tuple(zip(*segments(s)))]).all()]
    best = min(environment.cost(schedule) for schedule in measured)
    assert environment.cost(solve(cost, [4])[4]) == pytest.approx(best)


def segments(schedule):
    """(i, j, m) of every computed evaluation j, the one before it and the one after it."""
    computed = (0, *schedule.indices, schedule.n)
    return list(zip(computed, computed[1:], computed[2:], strict=False))


def test_a_race_finds_the_best_where_samples_agree_and_takes_little():
    class Agreeing(Environment):
        n, samples = 20, 16

        def cost(self, schedule, sample):
            return float(sum(schedule.indices)) * (1 + sample)

    rng = random.Random(3)
    schedules = [random_start(20, 6, rng) for _ in range(8)]
    memo = Memo(Agreeing())
    assert successive_halving(schedules, memo) == min(schedules, key=lambda schedule: sum(schedule.indices))
    assert memo.rollouts == 8 * 2 + 4 * 2 + 2 * 4  # 2 samples, then 4, then 8; those asked before are free
    assert successive_halving(schedules[:1] * 3, Memo(Agreeing())) == schedules[0]


def test_one_misleading_sample_does_not_decide_a_race():
    class Misleading(Environment):
        n, samples = 20, 4

        def cost(self, schedule, sample):
            return -sum(schedule.indices) / 10.0 if sample == 0 else float(sum(schedule.indices))

    schedules = [random_start(20, 6, random.Random(seed)) for seed in range(8)]
    best = min(schedules, key=lambda schedule: sum(schedule.indices))
    assert successive_halving(schedules, Memo(Misleading())) == best
