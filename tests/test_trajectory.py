"""One budget over several samplers, without a server: what is counted, what is cached, and what the report says."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from nodes import common_ksampler

from recache import caching
from recache.caching import Reason, Report
from recache.caching.report import joined
from recache.nodes.budget import ReCacheBudget, ReCacheBudgetTwoModels
from recache.nodes.library.trajectory import Trajectory
from recache.nodes.server import wording
from recache.policies.budget import computed_for_budget
from tests.sampling import Trace, models, observe
from tests.tiny.families import FAMILIES

NAME = "wan22_14b"
FAMILY = FAMILIES[NAME]


def together(budget: float, policy: str = "uniform", **settings):
    """Both MODELs under one budget; cached at the output, where a cached evaluation costs nothing."""
    return ReCacheBudgetTwoModels.execute(
        *models(NAME), budget, policy, **{"cache_point": "output", **settings}).args


def sampled(model, n: int, begin: int, end: int, latent=None, cfg: float = 1.0) -> Trace:
    """KSamplerAdvanced, observed."""
    positive, negative = FAMILY.conditioning()

    @torch.inference_mode()
    def sample(model):
        start = {"samples": torch.zeros(1, *FAMILY.latent_shape) if latent is None else latent}
        return common_ksampler(
            model, 3, n, cfg, "euler", "simple", positive, negative, start, start_step=begin, last_step=end,
            force_full_denoise=end == n, disable_noise=begin > 0)[0]["samples"]

    return observe(model, None, sample)


def in_turn(pair, n: int, switch: int) -> tuple[Trace, Trace]:
    first = sampled(pair[0], n, 0, switch)
    return first, sampled(pair[1], n, switch, n, first.samples)


def last_report(model) -> Report:
    return caching.reports_of(caching.config_of(model).identity)[-1]


@pytest.mark.parametrize("n, switch, budget", [(10, 5, 0.4), (12, 3, 0.5), (12, 9, 0.35), (7, 2, 0.6), (10, 9, 0.8)])
def test_the_second_sampler_gets_what_the_first_one_left(n, switch, budget):
    """Without a prompt the first sampler can't know of the second, and spends its own share."""
    pair = together(budget)
    first, second = in_turn(pair, n, switch)
    spent, whole = computed_for_budget(budget, switch), computed_for_budget(budget, n)
    assert len(first.with_network) == spent and len(second.with_network) == max(1, whole - spent)
    report = last_report(pair[1])
    assert report.computed == [*first.with_network, *(switch + i for i in second.with_network)]
    assert report.notes[0] == Reason("next_sampler_unknown")
    assert all(note.fields["steps"] == n for note in report.notes[1:])  # of both, not of one


@pytest.mark.parametrize("before, n", [(0, 3), (3, 5)])
def test_each_sampler_forecasts_from_its_own_inner_products(before, n):
    gram = np.arange(64.0).reshape(8, 8)
    times = tuple(1.0 - i / 8 for i in range(8))
    made = caching.CacheConfig(lambda times, cost, starts=(): (True,) * len(times), gram=gram)
    choice = SimpleNamespace(for_run=lambda config, run: made)
    own = Trajectory(choice, SimpleNamespace(node=None, model_sampling=None)).for_run(made, caching.RunSettings(
        times=times[before:before + n], before=Report("l2p", None, times=times[:before]) if before else None))
    assert np.array_equal(own.gram, gram[before:before + n, before:before + n])


def test_nothing_cached_passes_from_one_model_to_the_other():
    pair = together(0.4, mechanism="taylor")
    traces = in_turn(pair, 12, 5)
    for model, trace, begin, end, start in zip(models(NAME), traces, (0, 5), (5, 12), (None, traces[0].samples)):
        listed = ", ".join(map(str, trace.with_network))
        alone = ReCacheBudget.execute(model, 0.4, "list", evaluations=listed, mechanism="taylor",
                                      cache_point="output").args[0]
        again = sampled(alone, 12, begin, end, start)
        assert again.with_network == trace.with_network and torch.equal(again.samples, trace.samples)
        assert not torch.equal(again.samples, sampled(model, 12, begin, end, start).samples)


def test_a_list_counts_through_both_and_the_second_always_begins_computed():
    _, second = in_turn(together(0.4, "list", evaluations="0-2"), 6, 3)
    assert second.with_network == [0]


@pytest.mark.parametrize("policy", ["auto", "uniform"])
def test_at_1_everything_is_as_without(policy):
    pair = together(1.0, policy)
    for trace, plain in zip(in_turn(pair, 6, 2), in_turn(models(NAME), 6, 2)):
        assert torch.equal(trace.samples, plain.samples) and trace.with_network == plain.with_network
    report = last_report(pair[1])
    assert report.computed == report.planned == list(range(6)) and len(report.times) == 6 and not report.notes


def test_at_the_blocks_both_together_cost_no_more_than_the_budget():
    pair = together(0.55, mechanism="residual", cache_point="blocks")
    traces = in_turn(pair, 12, 5)
    report = last_report(pair[1])
    assert [part.cache_point for part in report.parts] == ["blocks", "blocks"]
    assert [part.computed for part in report.parts] == [trace.with_blocks for trace in traces]
    k, cost = len(report.computed), report.cached_cost
    assert cost > 0 and k + (12 - k) * cost <= 0.55 * 12 < (k + 1) + (11 - k) * cost


@pytest.mark.parametrize("changed, begin", [(lambda latent: latent * 1.1, 5), (lambda latent: latent, 6)])
def test_another_latent_or_noise_level_is_a_run_of_its_own(changed, begin):
    pair = together(0.4)
    first = sampled(pair[0], 12, 0, 5)
    sampled(pair[1], 12, begin, 12, changed(first.samples))
    report = last_report(pair[1])
    assert not report.parts and len(report.computed) == computed_for_budget(0.4, 12 - begin)


def test_two_samplers_of_an_ordinary_budget_have_one_each():
    model = ReCacheBudget.execute(models(NAME)[0], 0.4, "uniform", cache_point="output").args[0]
    in_turn((model, model), 12, 6)
    reports = caching.reports_of(caching.config_of(model).identity)
    assert [len(report.computed) for report in reports] == [2, 2] and not any(report.parts for report in reports)


def test_a_report_on_both():
    chosen = Reason("chosen_on_node")
    first = Report("taylor", 1, "output", chosen, 4, (1.0, 0.9, 0.8, 0.7), 1.0, (64, 64), planned=[0, 2],
                   computed=[0, 2], seconds=[1.0, 0.0, 1.0, 0.0], finished=True, leftover=0.6)
    left = Reason("left_plan", {"index": 1})
    second = Report("taylor", 1, "output", chosen, 2, (0.6, 0.3), 3.0, (64, 64), planned=[0], computed=[0, 1],
                    unplanned=[(1, left)], notes=[left], seconds=[2.0, 2.0], finished=True, samples=b"x")
    both = joined(first, second)
    assert (both.evaluations, both.planned, both.computed) == (6, [0, 2, 4], [0, 2, 4, 5])
    assert both.times == first.times + second.times and both.cfg == 1.0 and both.samples == b"x"
    later = Reason("left_plan", {"index": 5})
    assert both.unplanned == [(5, later)] and both.notes == [later]
    assert both.planned_speedup == pytest.approx(2.0)
    assert both.seconds_uncached == pytest.approx(8.0) and both.measured_speedup == pytest.approx(8.0 / 6.0)
    assert both.as_dict()["parts"][1]["computed"] == [0, 1] and "samples" not in both.as_dict()["parts"][1]
    assert "Computed in each sampler: 2/4, 2/2" in wording.report_text(both)
    uncached = Report("taylor", 1, evaluations=2, computed=[0, 1], seconds=[2.0, 2.0], finished=True)
    assert joined(first, uncached).planned == [0, 2, 4, 5] and joined(uncached, uncached).planned == []
    three = joined(both, second)
    assert [part.evaluations for part in three.parts] == [4, 2, 2] and three.seconds_uncached == pytest.approx(12.0)
