"""The rivals of the benchmarks do what their papers say."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recache import caching
from recache.caching import block_mapping, mechanisms
from tests.bench import demo_models, dicache, rival_mechanisms, rivals

pytestmark = pytest.mark.usefixtures("host")
STEPS = 12


@pytest.fixture(params=["flux", "wan"])
def demo(request, models_dir):
    with torch.inference_mode():
        yield demo_models.load(request.param, models_dir)


def run(demo, threshold: float, samples, error: str = "probe") -> tuple[torch.Tensor, list[list[bool]]]:
    model, runs = dicache.attach(demo.model, STEPS, threshold, error)
    return demo.sample(model, samples, STEPS), torch.cat([torch.stack(r.computed, 1) for r in runs]).tolist()


@pytest.mark.parametrize("demo, error", [("flux", "probe"), ("flux", "probe minus input"), ("wan", "probe")],
                         indirect=["demo"])
def test_dicache_computes_less_the_higher_the_threshold_and_each_sample_for_itself(demo, error):
    samples = demo.samples(3)
    uncached = demo.sample(demo.model, samples, STEPS)
    everything, computed = run(demo, 0.0, samples, error)
    assert torch.equal(everything, uncached) and all(all(row) for row in computed)
    counts, apart = [], False
    for threshold in (0.03, 0.1, 0.2, 10.0):
        latents, computed = run(demo, threshold, samples, error)
        counts.append(sum(map(sum, computed)))
        apart |= len(set(map(tuple, computed))) > 1
        assert all(row[0] and row[-1] for row in computed)
        assert latents.isfinite().all()
        if threshold == 0.1:
            alone, row = run(demo, threshold, samples[1:2], error)
            assert row == computed[1:2]
            torch.testing.assert_close(alone, latents[1:2], rtol=1e-2, atol=1e-2)
    assert counts == sorted(counts, reverse=True) and counts[-1] == 2 * len(samples) and apart


def test_dicache_reconstructs_as_the_mechanism_of_the_pack_does(demo, monkeypatch):
    monkeypatch.setattr(block_mapping, "PROBE_STRIDE", 1)
    samples = demo.samples(1)
    latents, [computed] = run(demo, 0.15, samples)
    assert 3 < sum(computed) < STEPS
    settings = caching.CacheConfig(lambda times, cost: tuple(computed), mechanism="dicache", cache_point="blocks")
    expected = demo.sample(caching.attach(demo.model, settings), samples, STEPS)
    torch.testing.assert_close(latents, expected, rtol=1e-3, atol=1e-3)


def test_thresholds_are_tuned_to_the_fewest_evaluations_that_are_enough():
    def made(more: float, threshold: float) -> tuple[torch.Tensor, float]:
        return torch.tensor(threshold), 2.0 + 48.0 / (1.0 + 10.0 * threshold) + more

    few, run = partial(made, 0.0), partial(made, -0.3)  # all samples take a little less than the few do
    for k, (threshold, computed) in rivals.tuned(few, run, (7, 9, 13, 49)).items():
        assert k <= computed < k + 0.6 and run(float(threshold))[1] == pytest.approx(computed)


def test_a_rival_with_the_weights_of_taylor_forecasts_as_taylor_does(demo):
    demo = replace(demo, cfg=1.0)  # the pack's forecasts treat guidance in another way
    computed, taylor = (0, 1, 4, 7, 8), mechanisms.make("taylor", 1)

    def weights(computed, now):
        past = [i for i in computed if i < now][::-1][:2]
        return dict(zip(past, taylor.weights(past, now)))

    samples = demo.samples(2)
    settings = caching.CacheConfig(
        lambda times, cost: tuple(i in computed for i in range(STEPS)), "taylor", 1, cache_point="output")
    expected = demo.sample(caching.attach(demo.model, settings), samples, STEPS)
    found = demo.sample(rival_mechanisms.attach(demo.model, computed, weights), samples, STEPS)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_meancache_forecasts_by_the_formula_of_its_paper(demo):
    """Written out with the average velocity, and with every earlier forecast; without guidance."""
    demo = replace(demo, cfg=1.0)
    computed, steps, samples = (0, 1, 2, 3, 5, 7), 8, demo.samples(2)
    noise_levels = demo.workflow(samples, steps)[0].sigmas.tolist()

    def weights(computed, now):
        rows = []
        for i in range(now + 1):
            if i in computed and i < now:
                rows.append(np.eye(steps)[i])
                continue
            b = i - 2
            u = sum(rows[j] * (noise_levels[j + 1] - noise_levels[j]) for j in (b, b + 1)) / (
                noise_levels[i] - noise_levels[b])
            slope = (rows[b] - u) / (noise_levels[i] - noise_levels[b])
            rows.append(rows[i - 1] - slope * (noise_levels[i + 1] - noise_levels[i]))
        return {i: float(weight) for i, weight in enumerate(rows[now]) if weight}

    settings = caching.CacheConfig(
        lambda times, cost: tuple(i in computed for i in range(steps)), "meancache", cache_point="output")
    expected = demo.sample(rival_mechanisms.attach(demo.model, computed, weights), samples, steps)
    found = demo.sample(caching.attach(demo.model, settings), samples, steps)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_l2p_has_the_packs_weights_at_any_depth():
    rows = np.random.default_rng(0).normal(size=(6, 40))
    runs = SimpleNamespace(gram=rows @ rows.T / 40)
    for depth, past in ((1, [3]), (2, [3, 1]), (3, [3, 1, 0]), (4, [3, 1, 0])):
        found = rival_mechanisms.make("l2p", depth, runs)((0, 1, 3), 5)
        assert found == dict(zip(past, mechanisms.L2P(runs.gram).weights(past, 5)))


def test_foca_by_hand():
    # F(0) = 0, F(2) = 6, forecast for 5: D = 3, BDF2: 8 - 0 + 2 * 3 = 14, D' = 8 / 3, 6 + 3 / 2 (3 + 8 / 3) = 14.5
    for stepwise, expected in ((False, 14.5), (True, 15.0)):  # step by step, lines are continued
        values = {0: 0.0, 2: 6.0} if not stepwise else {0: 0.0, 1: 3.0, 2: 6.0}
        found = rival_mechanisms.FoCa(stepwise)(tuple(values), 5)
        assert sum(w * values[i] for i, w in found.items()) == pytest.approx(expected)
        assert sum(found.values()) == pytest.approx(1.0)
    assert rival_mechanisms.FoCa()((0,), 3) == {0: 1.0}
