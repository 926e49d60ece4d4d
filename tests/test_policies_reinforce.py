"""REINFORCE against the exact gradient of a problem small enough to enumerate, and on a problem to solve."""

import itertools

import pytest
import torch

from recache.policies.learning.environment import WORST, Environment, Memo
from recache.policies.learning.plackett_luce import PlackettLuce, log_prob, sample_order
from recache.policies.learning.reinforce import ReinforceConfig, surrogate, train
from recache.policies.schedule import from_indices
from tests.bench.baselines import SharedLogits

ITEMS, PICKS, ENTROPY = 5, 2, 0.3
ORDERS = list(itertools.permutations(range(ITEMS), PICKS))


def problem():
    generator = torch.Generator().manual_seed(3)
    theta = torch.randn(ITEMS, dtype=torch.float64, generator=generator)
    loss = {
        frozenset(c): torch.rand(1, generator=generator).item() + 2 for c in itertools.combinations(range(ITEMS), 2)
    }
    return theta, loss


def exact_gradient(theta, loss):
    """Of E[L(s) + lambda log p(s)], summed over all ordered subsets."""
    theta = theta.clone().requires_grad_()
    log_p = log_prob(theta.expand(len(ORDERS), -1), torch.tensor(ORDERS))
    values = torch.tensor([loss[frozenset(order)] for order in ORDERS], dtype=torch.float64)
    (log_p.exp() * (values + ENTROPY * log_p)).sum().backward()
    return theta.grad


def estimates(theta, loss, groups, n, estimator):
    """`groups` independent estimates of the gradient [groups, ITEMS], each of n samples."""
    order = sample_order(theta.expand(groups * n, -1), PICKS, torch.Generator().manual_seed(0))
    values = torch.tensor([loss[frozenset(o)] for o in order.tolist()], dtype=torch.float64).view(groups, n)
    copies = theta.expand(groups, -1).clone().requires_grad_()
    log_p = log_prob(copies.unsqueeze(1).expand(-1, n, -1).reshape(groups * n, -1), order).view(groups, n)
    sum(estimator(values[g], log_p[g]) for g in range(groups)).backward()
    return copies.grad


def test_the_estimator_is_unbiased_and_the_baseline_lowers_its_variance():
    theta, loss = problem()
    exact = exact_gradient(theta, loss)
    ours = estimates(theta, loss, 4000, 4, lambda values, log_p: surrogate(values, log_p, ENTROPY))
    error = (ours.mean(0) - exact) / (ours.std(0) / len(ours) ** 0.5)
    assert error.abs().max() < 3.5, error
    assert (exact.abs() > 5 * ours.std(0) / len(ours) ** 0.5).any()  # the test can tell it from zero

    def no_baseline(values, log_p):
        return ((values + ENTROPY * log_p).detach() * log_p).mean()

    plain = estimates(theta, loss, 4000, 4, no_baseline)
    assert ((plain.mean(0) - exact) / (plain.std(0) / len(plain) ** 0.5)).abs().max() < 3.5
    assert ours.var(0).sum() < 0.5 * plain.var(0).sum()


def test_the_estimator_is_the_leave_one_out_formula_by_hand():
    # L + log p / 2 = 0.5, 1, 4.5; less the mean of the two others, 2.75, 2.5, 0.75: -2.25, -1.5, 3.75; over n = 3
    log_p = torch.tensor([-1.0, -2.0, -3.0], requires_grad=True)
    surrogate(torch.tensor([1.0, 2.0, 6.0]), log_p, 0.5).backward()
    assert log_p.grad.tolist() == pytest.approx([-0.75, -0.5, 1.25])


class Distances(Environment):
    """The cost is how far the computed evaluations are from wanted ones, and a little noise of the sample."""

    n, samples = 12, 3
    wanted = (0, 2, 3, 7, 11)
    calls = 0

    def cost(self, schedule, sample):
        self.calls += 1
        return sum(min(abs(i - j) for j in schedule.indices) for i in self.wanted) + 0.01 * sample


def test_training_finds_the_best_schedule_and_repeats_itself():
    policies = []
    for _ in range(2):
        policy = PlackettLuce(12, SharedLogits(12))
        generator = torch.Generator().manual_seed(0)
        config = ReinforceConfig(updates=150, batch=2, learning_rate=0.1)
        losses = []
        train(policy, Memo(Distances()), {5: 1.0}, config, generator,
              on_update=lambda _, loss: losses.append(loss))  # noqa: B023
        policies.append(policy)
        assert len(losses) == 150 and sum(losses[-10:]) < 0.3 * sum(losses[:10])
    assert policies[0].schedule(5).indices == Distances.wanted
    torch.testing.assert_close(policies[0].logits.theta, policies[1].logits.theta, rtol=0, atol=0)


def test_a_rollout_that_ends_in_nan_does_not_end_learning():
    class Broken(Distances):
        def cost(self, schedule, sample):
            return float("nan") if schedule.indices[1] > 4 else super().cost(schedule, sample)

    torch.manual_seed(0)
    policy = PlackettLuce(12)
    config = ReinforceConfig(updates=100, batch=2, learning_rate=0.02)
    train(policy, Memo(Broken()), {5: 1.0}, config, torch.Generator().manual_seed(0))
    assert policy.schedule(5).indices == Distances.wanted


def test_no_choice_no_training():
    policy = PlackettLuce(12, SharedLogits(12))
    train(policy, Distances(), {1: 1.0, 12: 1.0}, ReinforceConfig(), torch.Generator())
    assert (policy.logits.theta == 0).all()


def test_memo_asks_once_counts_and_resumes():
    recorded = {}
    environment = Distances()
    memo = Memo(environment, record=lambda computed, sample, cost: recorded.update({(computed, sample): cost}))
    schedule = from_indices([0, 5], 12)
    assert memo.cost(schedule, 1) == memo.cost(schedule, 1)
    memo.mean_cost(schedule)
    assert (environment.calls, memo.rollouts, memo.evaluations) == (3, 3, 6)
    again = Memo(environment, known=recorded)
    assert again.mean_cost(schedule) == memo.mean_cost(schedule)
    assert (environment.calls, again.evaluations, len(recorded)) == (3, 6, 3)


def test_memo_counts_a_shared_beginning_once_for_each_sample():
    class Sharing(Distances):
        shares = True

    recorded = {}
    first = Memo(Sharing(), record=lambda computed, sample, cost: recorded.update({(computed, sample): cost}))
    steps = [  # indices, sample, evaluations that are new
        ([0, 3, 7], 0, 3), ([0, 3, 8], 0, 1), ([0, 3, 7, 8], 0, 1), ([0, 3], 0, 0), ([0, 2, 7], 0, 2),
        ([0, 3, 7], 1, 3), ([0, 3, 7], 0, 0)]
    for memo in (first, Memo(Sharing(), known=recorded)):
        for indices, sample, new in steps:
            before = memo.evaluations
            memo.cost(from_indices(indices, 12), sample)
            assert memo.evaluations - before == new
        assert (memo.rollouts, memo.unshared, memo.evaluations) == (6, 18, 10)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_run_that_ends_in_nan_is_a_bad_schedule(value):
    class Broken(Distances):
        def cost(self, schedule, sample):
            return value

    assert Memo(Broken()).cost(from_indices([0], 12), 0) == WORST
