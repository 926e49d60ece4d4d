"""Plackett-Luce against enumeration: probabilities, sampling, gradients, the deterministic schedule."""

import itertools
import math
from collections import Counter

import pytest
import torch
from scipy.stats import chisquare

from recache.policies.learning.imitation import imitate
from recache.policies.learning.plackett_luce import MLPLogits, PlackettLuce, log_prob, sample_order
from recache.policies.schedule import ScheduleError, from_indices
from recache.policies.uniform import uniform
from tests.bench.baselines import SharedLogits, front_loaded


def random_policy(n, logits, seed=0):
    torch.manual_seed(seed)
    policy = PlackettLuce(n, logits(n))
    for parameter in policy.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    return policy.double()


def by_definition(theta, order):
    """The product of softmaxes over what is left, in plain Python."""
    left, total = list(range(len(theta))), 0.0
    for item in order:
        total += theta[item] - math.log(sum(math.exp(theta[i]) for i in left))
        left.remove(item)
    return total


@pytest.mark.parametrize("picks", [0, 1, 2, 3, 5])
def test_probabilities_of_all_ordered_subsets_sum_to_one(picks):
    theta = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(picks)) * 2
    orders = list(itertools.permutations(range(5), picks))
    log_p = log_prob(theta.expand(len(orders), -1), torch.tensor(orders, dtype=torch.int64).view(len(orders), picks))
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    for order, value in zip(orders, log_p.tolist()):
        assert value == pytest.approx(by_definition(theta.tolist(), order), abs=1e-12)


@pytest.mark.parametrize("logits", [SharedLogits, MLPLogits])
@pytest.mark.parametrize("k", [1, 3, 6])
def test_policy_probabilities_sum_to_one_for_every_k(logits, k):
    policy = random_policy(6, logits)
    orders = list(itertools.permutations(range(5), k - 1))
    orders = torch.tensor(orders, dtype=torch.int64).view(len(orders), k - 1)
    assert log_prob(policy.theta(k).expand(len(orders), -1), orders).exp().sum().item() == pytest.approx(1.0)


def test_sampling_frequencies_match_the_probabilities():
    theta = torch.tensor([1.5, -1.0, 0.3, 0.0, -0.4])
    draws = sample_order(theta.expand(40_000, -1), 3, torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, draws.tolist()))
    orders = list(itertools.permutations(range(5), 3))
    expected = [40_000 * math.exp(by_definition(theta.tolist(), order)) for order in orders]
    assert chisquare([counts[order] for order in orders], expected).pvalue > 0.01
    wrong = sorted(expected)
    assert chisquare([counts[order] for order in orders], wrong).pvalue < 1e-6  # the test can tell


def test_log_prob_gradient_matches_finite_differences():
    theta = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    order = torch.tensor([[4, 0, 2], [5, 1, 3]])
    assert torch.autograd.gradcheck(lambda t: log_prob(t, order), theta)


@pytest.mark.parametrize("logits", [SharedLogits, MLPLogits])
def test_policy_gradient_matches_finite_differences(logits):
    policy = random_policy(6, logits)
    order = torch.tensor([3, 0])
    log_prob(policy.theta(3), order).backward()
    for parameter in policy.parameters():
        flat = parameter.data.view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 5)):
            value, step = flat[i].item(), 1e-6
            flat[i] = value + step
            up = log_prob(policy.theta(3), order).item()
            flat[i] = value - step
            down = log_prob(policy.theta(3), order).item()
            flat[i] = value
            assert parameter.grad.view(-1)[i].item() == pytest.approx((up - down) / (2 * step), abs=1e-7)


def test_samples_are_schedules_of_exactly_k_with_their_log_probabilities():
    policy = random_policy(12, MLPLogits)
    for k in (1, 2, 7, 12):
        schedules, log_p = policy.sample(k, 20, torch.Generator().manual_seed(k))
        assert all(s.k == k and s.n == 12 and s.computed[0] for s in schedules)
        assert log_p.shape == (20,) and (log_p <= 1e-12).all()


def test_extreme_logits_stay_finite():
    theta = torch.tensor([1e4, -1e4, 0.0, 88.0], requires_grad=True)
    value = log_prob(theta, torch.tensor([1, 0, 2, 3]))
    value.backward()
    assert value.isfinite() and theta.grad.isfinite().all()


@pytest.mark.parametrize("logits", [SharedLogits, MLPLogits])
def test_the_deterministic_schedule_is_the_top_k(logits):
    policy = random_policy(9, logits)
    for k in range(1, 10):
        theta = policy.theta(k)
        best = max(itertools.combinations(range(8), k - 1), key=lambda s: sum(theta[i].item() for i in s))
        assert policy.schedule(k).indices == (0, *(i + 1 for i in best))


def test_shared_logits_give_nested_schedules():
    policy = random_policy(15, SharedLogits)
    sets = [set(policy.schedule(k).indices) for k in range(1, 16)]
    assert all(a < b for a, b in itertools.pairwise(sets))


def test_k_outside_the_run_is_refused():
    for k in (0, 7):
        with pytest.raises(ScheduleError, match="can compute 1 to 6"):
            PlackettLuce(6).schedule(k)


def test_imitation_makes_the_schedules_exact_for_all_k_at_once():
    torch.manual_seed(0)
    policy = PlackettLuce(50)
    elites = {k: uniform(50, k) if k % 2 else front_loaded(50, k) for k in range(1, 51)}  # far from nested
    assert imitate(policy, elites, min_pick_probability=0.5, steps=3000)
    assert {k: policy.schedule(k).indices for k in elites} == {k: s.indices for k, s in elites.items()}


def test_imitation_says_when_it_fails():
    torch.manual_seed(0)
    policy = PlackettLuce(8, SharedLogits(8))
    elites = {2: from_indices([0, 1], 8), 3: from_indices([0, 6, 7], 8)}
    assert not imitate(policy, elites, min_pick_probability=0.5, steps=50)
    assert imitate(policy, {1: uniform(8, 1), 8: uniform(8, 8)}, min_pick_probability=0.9)
