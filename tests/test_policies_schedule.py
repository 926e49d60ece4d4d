"""Schedules: validation, an artist's list, carrying to other times; uniform; k from a budget."""

import hashlib
import itertools
from fractions import Fraction

import numpy as np
import pytest

from recache.policies import interpolation
from recache.policies import schedule as schedules_module
from recache.policies.assignment import cheapest_in_order, nearest_in_order
from recache.policies.budget import computed_for_budget, listed, planned_speedup
from recache.policies.defaults import default_mechanism, default_schedule
from recache.policies.interpolation import Interpolation
from recache.policies.policy import Policy
from recache.policies.power_law import power_law
from recache.policies.schedule import Schedule, ScheduleError, explicit, from_indices, resample, with_starts
from recache.policies.uniform import uniform


def flow_sigmas(n, shift=3.0):
    t = np.linspace(1.0, 0.0, n + 1)[:-1]
    return tuple(shift * t / (1 + (shift - 1) * t))


def test_schedule_holds_what_it_was_given():
    schedule = from_indices([5, 0, 2], 8, times=np.linspace(1, 0.1, 8))
    assert (schedule.k, schedule.n, schedule.indices) == (3, 8, (0, 2, 5))
    assert str(schedule) == "0, 2, 5"
    assert hash(schedule) == hash(from_indices([0, 2, 5], 8, times=np.linspace(1, 0.1, 8)))
    assert explicit(str(schedule), 8).computed == schedule.computed


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Schedule(()), "at least one evaluation"),
        (lambda: Schedule((False, True)), "Evaluation 0 must be computed"),
        (lambda: Schedule((True, False), (1.0,)), "needs 2 times, not 1"),
        (lambda: Schedule((True,), (float("nan"),)), "finite"),
        (lambda: from_indices([0, 20], 20), "Evaluation 20 does not exist in a run of 20"),
        (lambda: from_indices([0, -1], 20), "Evaluation -1 does not exist"),
        (lambda: uniform(20, 0), "not 0"),
        (lambda: uniform(20, 21), "not 21"),
        (lambda: default_schedule(20, 0), "not 0"),
        (lambda: power_law(20, 21, 1.5), "not 21"),
        (lambda: default_schedule(20, 21), "not 21"),
    ],
)
def test_impossible_schedules_are_refused_in_one_sentence(make, says):
    with pytest.raises(ScheduleError, match=says) as error:
        make()
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "indices"),
    [
        ("0", (0,)),
        ("0, 1, 2, 5, 11", (0, 1, 2, 5, 11)),
        ("0-3", (0, 1, 2, 3)),
        (" 11,5 ; 0 - 2\n19 ", (0, 1, 2, 5, 11, 19)),
        ("0,0,1,0-1", (0, 1)),
    ],
)
def test_explicit_lists(text, indices):
    assert explicit(text, 20).indices == indices


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        (" , ;", "empty"),
        ("0, 99", "Evaluation 99 does not exist in a run of 20"),
        ("0-1000000", "Evaluation 20 does not exist"),
        ("0, five", "'five' is not an evaluation"),
        ("0, 1.5", "'1.5' is not an evaluation"),
        ("0, -3", "is not an evaluation|runs backwards"),
        ("0, 7-3", "runs backwards; write 3-7"),
        ("1, 2", "Evaluation 0 must be computed"),
        ("0, " + "9" * 5000, "is not an evaluation"),
        ("0, ٣", "is not an evaluation"),
    ],
)
def test_explicit_lists_that_can_not_be(text, says):
    with pytest.raises(ScheduleError, match=says) as error:
        explicit(text, 20)
    assert len(str(error.value)) < 160


def test_uniform_is_even_and_exact_for_every_k():
    assert uniform(50, 5).indices == (0, 10, 20, 30, 40)
    assert uniform(50, 50).k == 50
    for n in (1, 7, 50):
        for k in range(1, n + 1):
            schedule = uniform(n, k)
            gaps = np.diff([*schedule.indices, n])
            assert schedule.k == k and schedule.n == n and schedule.computed[0]
            assert gaps.max() - gaps.min() <= 1


def test_the_default_schedule_computes_the_end_of_short_runs_and_k_of_every_run():
    assert [default_schedule(8, k).indices for k in (7, 6, 5)] == [
        (0, 1, 2, 3, 4, 5, 7), (0, 1, 2, 3, 5, 7), (0, 1, 3, 5, 7)]
    assert default_schedule(8, 4).indices == (0, 2, 4, 6)
    assert default_schedule(50, 9).indices == (0, 5, 11, 17, 23, 29, 35, 41, 47)
    for n in range(1, 61):
        for k in range(1, n + 1):
            schedule = default_schedule(n, k)
            gaps = np.diff([*schedule.indices, n])
            assert (schedule.n, schedule.k) == (n, k)
            assert schedule.computed[-1] or 2 * k < n + 2, "the last evaluation is cached although half are computed"
            even = 2 * k < n + 2 and default_mechanism(n, k)[0] == "reuse"
            assert schedule == uniform(n, k) if even else k < 2 or gaps[-1] <= gaps[:-1].max(), "the end is neglected"


def test_the_default_mechanism_repeats_where_no_trend_is_of_use():
    assert [default_mechanism(4, 3), default_mechanism(8, 3), default_mechanism(50, 3)] == [("reuse", 1)] * 3
    assert [default_mechanism(8, 4), default_mechanism(50, 5)] == [("hermite", 1)] * 2
    assert default_mechanism(20, 10) == ("taylor", 1)


def test_carry_to_the_same_times_changes_nothing():
    repeated = (1.0, 0.8, 0.8, 0.5, 0.5, 0.2, 0.2)  # heun: predictor and corrector share a time
    for times in (flow_sigmas(12), repeated, (14.6, 3.0, 0.5, 3.0, 0.5, 0.1)):
        for k in range(1, len(times) + 1):
            for others in itertools.combinations(range(1, len(times)), k - 1):
                schedule = from_indices((0, *others), len(times), times)
                assert resample(schedule, times) == schedule


@pytest.mark.parametrize("with_times", [True, False])
def test_carry_keeps_k_order_and_the_first_evaluation(with_times):
    rng = np.random.default_rng(0)
    for _ in range(300):
        n, m = rng.integers(1, 60, 2)
        k = rng.integers(1, min(n, m) + 1)
        others = rng.choice(np.arange(1, n), k - 1, replace=False) if k > 1 else []
        schedule = from_indices([0, *others], n, flow_sigmas(n) if with_times else None)
        times = flow_sigmas(m, shift=rng.uniform(0.5, 8)) if rng.random() < 0.7 else rng.uniform(0, 15, m)
        carried = resample(schedule, times)
        assert carried.k == k and carried.n == m and carried.computed[0] and carried.times == tuple(times)


def test_carry_follows_the_times_to_half_and_double_the_steps():
    schedule = from_indices([0, 2, 10, 22, 34], 50, flow_sigmas(50))
    assert resample(schedule, flow_sigmas(25)).indices == (0, 1, 5, 11, 17)
    assert resample(schedule, flow_sigmas(100)).indices == (0, 4, 20, 44, 68)


def test_carry_is_the_best_assignment_of_all():
    rng = np.random.default_rng(1)
    for _ in range(40):
        n, m = 9, 7
        k = int(rng.integers(1, m + 1))
        source = tuple(np.sort(rng.uniform(0, 1, n))[::-1])
        times = tuple(np.sort(rng.uniform(0, 1, m))[::-1])
        schedule = from_indices([0, *rng.choice(np.arange(1, n), k - 1, replace=False)], n, source)
        rank = np.interp([source[i] for i in schedule.indices], times[::-1], np.arange(m))
        loss = {
            c: sum((r - (m - 1 - i)) ** 2 for r, i in zip(rank, c, strict=True))
            for c in itertools.combinations(range(m), k)
            if c[0] == 0
        }
        assert loss[resample(schedule, times).indices] == pytest.approx(min(loss.values()), abs=1e-3)


def test_carry_refuses_what_can_not_fit():
    with pytest.raises(ScheduleError, match="9 computed evaluations does not fit a run of 8"):
        resample(uniform(50, 9), flow_sigmas(8))
    with pytest.raises(ScheduleError, match="finite"):
        resample(uniform(50, 9), [float("inf")] * 20)
    with pytest.raises(ScheduleError):
        resample(uniform(50, 1), [])


def test_budget_buys_what_exact_arithmetic_says():
    for n in (1, 4, 20, 25, 50, 99, 1000):
        for percent in range(1, 101):
            for cost in (0, 2, 5, 12):
                paid = (Fraction(percent, 100) - Fraction(cost, 100)) * n / (1 - Fraction(cost, 100))
                k = computed_for_budget(percent / 100, n, cost / 100)
                assert k == min(n, max(1, paid.numerator // paid.denominator)), (n, percent, cost)
    assert [computed_for_budget(b, 50) for b in (0.14, 0.18, 0.26, 1.0)] == [7, 9, 13, 50]


def test_budgets_are_listed_as_artists_write_them():
    assert listed("0.14, 0.18;0.4\n1") == (0.14, 0.18, 0.4, 1.0)
    for wrong in ("", " , ", "0.1, 7", "0.2 0", "-0.1", "nan", "14%", "0,14 a"):
        with pytest.raises(ScheduleError, match="are no budgets; write shares"):
            listed(wrong)
    with pytest.raises(ScheduleError, match="These are 13 budgets; list 12 at most"):
        listed("0.1 " * 13)


@pytest.mark.parametrize("budget", [0.0, -0.5, 1.0001, float("nan"), float("inf")])
def test_budgets_outside_the_slider_are_refused(budget):
    with pytest.raises(ScheduleError, match="budget"):
        computed_for_budget(budget, 50)


def test_planned_speedup():
    assert planned_speedup(10, 50) == 5.0
    assert planned_speedup(10, 50, 0.1) == pytest.approx(50 / 14)
    for bad in ((0, 50, 0.0), (51, 50, 0.0), (1, 50, 1.0), (1, 50, -0.1), (1, 0, 0.0)):
        with pytest.raises(ScheduleError):
            planned_speedup(*bad)


@pytest.mark.parametrize("crowded", [0.0, 0.4, 1.0])
def test_a_policy_tries_few_schedules_to_serve_a_run_that_starts_later(crowded):
    """Schedules that compute too few evaluations there are recognised without being made, even of a thousand."""
    n, random = 48, np.random.default_rng(0)
    near = np.argsort(np.abs(np.arange(1, n) / n - crowded), kind="stable") + 1
    for ks in ((8,), (3, 20, 40)):
        interpolated = Interpolation({k: from_indices([0, *near[: k - 1]], n) for k in ks})
        computed = [None, *(np.array(interpolated.schedule(whole).computed) for whole in range(1, n + 1))]
        for start, share in random.uniform(size=(40, 2)):
            start = 1 + int(start * (n - 1))
            k = 1 + int(share * (n - start))
            enough = next(w for w in range(k, n + 1) if computed[w][start:].sum() >= k)
            tried = [w for w in range(k, enough + 1) if not interpolated.surely_fewer_from(start, w, k)]
            assert tried[-1:] == [enough] and len(tried) <= 4


def test_power_laws_have_k_evaluations_and_are_denser_early_for_higher_powers():
    for n in (1, 2, 7, 20, 50):
        for k in range(1, n + 1):
            found = [power_law(n, k, power) for power in (0.5, 0.9, 1.0, 1.5, 3.0)]
            assert all(schedule.k == k and schedule.n == n for schedule in found)
            means = [np.mean(schedule.indices) for schedule in found]
            assert means == sorted(means, reverse=True)
    assert power_law(50, 7, 1.0).indices == (0, 8, 15, 23, 31, 38, 46)
    assert power_law(50, 9, 2.0).indices == (0, 1, 3, 6, 11, 17, 25, 34, 44)


def made_policy(n, budgets, seed):
    """A policy of irregular logits, from arithmetic alone."""
    places = np.arange(1, n)
    tilt = 400 * (seed % 2) * places / n
    logits = np.array([(places * (7919 + 31 * k + seed)) % 1009 - tilt for k in budgets], np.float32)
    return Policy(budgets, logits, tuple(1.0 - (i / n) ** (1 + seed % 3) for i in range(n)))


@pytest.mark.parametrize(
    ("n", "budgets", "seed", "digest"),
    [
        (8, (2, 4, 6), 0, "a3334fc17632ddf0"),
        (20, (3, 5, 9), 1, "bd8bca64d7c2a6f2"),
        (50, (7, 9, 13, 30), 2, "f42183f5fdf30dc7"),
        (51, (1,), 3, "d174b5c36eee18a9"),
        (200, (5, 60, 199), 4, "d0f4ed196ec19836"),
    ],
)
def test_a_policy_that_is_shared_gives_the_schedules_that_it_always_gave(n, budgets, seed, digest):
    policy, found = made_policy(n, budgets, seed), hashlib.sha256()
    for m, first in itertools.product((4, 20, n // 2 + 1, n, n + 7), (1.0, 0.93, 0.6, 0.25)):
        times = tuple(first * (1.0 - i / m) for i in range(m))
        for k, comparable in itertools.product(sorted({1, 2, m // 3 + 1, m - 1, m}), (True, False)):
            found.update(f"{policy.schedule(k, times, comparable)}\n".encode())
    assert found.hexdigest().startswith(digest)


def test_the_nearest_evaluations_are_those_of_an_exhaustive_program():
    rng = np.random.default_rng(2)
    for round_to in (None, 1.0, 0.5, 1.0 / 3.0):  # halves are ties
        for _ in range(200):
            n = int(rng.integers(1, 40))
            k = int(rng.integers(1, n + 1))
            positions = np.sort(rng.uniform(0, n, k)) if rng.random() < 0.7 else rng.uniform(0, n, k)
            if round_to is not None:
                positions = np.round(positions / round_to) * round_to
            assert nearest_in_order(positions, n) == cheapest_in_order((p - np.arange(n)) ** 2 for p in positions)


@pytest.mark.parametrize("budgets", [(1,), (5, 60), tuple(range(4, 1024, 4))])
def test_the_work_that_a_policy_file_can_ask_for_is_bounded(budgets, monkeypatch):
    """The largest policy that a file may hold makes few schedules, and one dynamic program as large as the run."""
    policy, work = made_policy(1024, budgets, 1), {"schedules": 0, "costs": 0}

    def nearest(positions, n, original=nearest_in_order):
        work["schedules"] += 1
        return original(positions, n)

    def cheapest(costs, original=cheapest_in_order):
        rows = list(costs)
        work["costs"] += sum(map(len, rows))
        return original(rows)

    monkeypatch.setattr(interpolation, "nearest_in_order", nearest)
    monkeypatch.setattr(schedules_module, "cheapest_in_order", cheapest)
    for m, first in itertools.product((20, 512), (0.999, 0.9, 0.5, 0.1)):
        for k in (1, m // 4, m):
            work.update(schedules=0, costs=0)
            policy.schedule(k, [first * (1.0 - i / m) for i in range(m)])
            assert work["schedules"] <= 4 and work["costs"] <= k * m


@pytest.mark.parametrize("n", range(2, 9))
def test_where_samplers_begin_is_computed_in_place_of_the_nearest(n):
    for k, switches in itertools.product(range(1, n + 1), range(4)):
        for starts in itertools.combinations(range(1, n), min(switches, n - 1)):
            before = uniform(n, k)
            made = with_starts(before, starts)
            assert {0, *starts} <= set(made.indices) and made.k == max(k, 1 + len(starts))
            if set(starts) <= set(before.indices):
                assert made == before
    moved = with_starts(from_indices((0, 3, 7), n=10), (5,))
    assert moved.indices == (0, 3, 5)  # of 3 and 7, which are as near, the later one
    assert with_starts(from_indices((0, 4, 9), n=10), (5,)).indices == (0, 5, 9)
    assert with_starts(from_indices((0, 4), n=10), (4, 6)).indices == (0, 4, 6)
