"""Every schedule of few evaluations: all of them, what they take, and the best of them, found by the learner."""

import itertools
from dataclasses import replace

import pytest

from recache.policies.learning.enumeration import can_try_all, evaluations_of_every_schedule, every_schedule
from recache.policies.learning.environment import Environment, Memo
from recache.policies.learning.search import LearnConfig, learn
from recache.policies.schedule import Schedule
from recache.policies.uniform import uniform


class Scattered(Environment):
    """Costs without structure, so that only trying every schedule finds the best. Counts its own evaluations."""

    def __init__(self, n, samples, shares=True, seed=0):
        self.n, self.samples, self.shares, self.seed = n, samples, shares, seed
        self.computed = 0
        self._last: dict[int, list[int]] = {}

    def cost(self, schedule, sample):
        known = self._last.get(sample, []) if self.shares else []
        self.computed += sum(known[:c + 1] != list(schedule.indices[:c + 1]) for c in range(schedule.k))
        self._last[sample] = list(schedule.indices)
        return 1.0 + hash((self.seed, sample, *schedule.indices)) % 9973  # of integers: the same in every process


def starts(n, ks, times=None):
    return {"uniform": {k: Schedule(uniform(n, k).computed, times) for k in ks}}


def best_by_hand(environment, k):
    every = [Schedule((True, *later)) for later in itertools.product((False, True), repeat=environment.n - 1)]
    memo = Memo(environment)
    return min((s for s in every if s.k == k), key=memo.mean_cost)


@pytest.mark.parametrize("n, ks", [(4, (3,)), (6, (2, 3, 5)), (9, (4, 7)), (7, tuple(range(1, 8))), (1, (1,))])
def test_every_schedule_once_and_neighbours_share_their_prefixes(n, ks):
    found = list(every_schedule(n, ks, tuple(range(n, 0, -1))))
    computed = {schedule.computed for schedule in found}
    assert len(computed) == len(found) == sum(schedule.k in ks and schedule.computed[0] for schedule in (
        Schedule((True, *later)) for later in itertools.product((False, True), repeat=n - 1)))
    assert all(schedule.k in ks and schedule.times == tuple(range(n, 0, -1)) for schedule in found)
    for shares in (True, False):
        memo, network = Memo(Scattered(n, 2, shares)), Scattered(n, 2, shares)
        for schedule in found:
            for sample in range(2):
                memo.cost(schedule, sample)
                network.cost(schedule, sample)  # keeps no more than the last schedule's outputs
        assert memo.evaluations == network.computed == 2 * evaluations_of_every_schedule(n, ks, shares)


@pytest.mark.parametrize("n, ks", [(6, (3, 5)), (8, (5, 6, 7)), (12, (2, 10))])
def test_the_best_of_all_schedules_is_learned(n, ks):
    environment = Scattered(n, 3)
    allowed = 3 * evaluations_of_every_schedule(n, ks, True)
    times = tuple(float(n - i) for i in range(n))
    result = learn(environment, Scattered(n, 3), starts(n, ks, times), LearnConfig(evaluations=allowed))
    for k in ks:
        best = best_by_hand(environment, k)
        assert result.schedules[k].computed == result.policy.schedule(k).computed == best.computed
        assert result.schedules[k].times == times
    assert result.evaluations == allowed


def test_one_evaluation_too_few_and_it_is_searched():
    n, ks = 8, (5, 6)
    allowed = 3 * evaluations_of_every_schedule(n, ks, True)
    memo = Memo(Scattered(n, 3))
    assert can_try_all(memo, ks, allowed) and not can_try_all(memo, ks, allowed - 1)
    result = learn(memo, Scattered(n, 3), starts(n, ks), LearnConfig(evaluations=allowed - 1))
    assert result.evaluations < allowed and set(result.schedules) == set(ks)


def test_the_winner_on_held_out_samples_is_taken():
    """On other samples the costs are others, so a start may win there."""
    result = learn(Scattered(6, 4), Scattered(6, 4, seed=1), starts(6, (2, 3, 4, 5)), LearnConfig(evaluations=1000))
    for k, row in result.validation.items():
        assert row[result.winners[k]] <= row["learned"]
    assert set(result.winners.values()) == {"learned", "uniform"}


def test_stopping_keeps_the_best_so_far_and_resuming_repeats_it():
    n, ks, recorded = 8, (4,), {}
    whole = learn(Scattered(n, 3), Scattered(n, 3), starts(n, ks), LearnConfig())
    memo = Memo(Scattered(n, 3), record=lambda computed, sample, cost: recorded.update({(computed, sample): cost}))
    stopped = learn(memo, Scattered(n, 3), starts(n, ks), LearnConfig(), lambda: memo.evaluations > 60)
    assert 60 < stopped.evaluations <= 64 < whole.evaluations
    network = Scattered(n, 3)
    again = learn(Memo(network, recorded), Scattered(n, 3), starts(n, ks), replace(LearnConfig(), seed=5))
    assert again.schedules == whole.schedules and again.evaluations == whole.evaluations
    assert network.computed < whole.evaluations
