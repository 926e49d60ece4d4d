"""The rivals of the benchmarks do what their papers say."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from recache import caching
from recache.caching import block_mapping
from tests.bench import demo_models, dicache, rivals

pytestmark = pytest.mark.usefixtures("host")
STEPS = 12


@pytest.fixture(params=["flux", "wan"])
def demo(request, models_dir):
    with torch.inference_mode():
        yield demo_models.load(request.param, models_dir)


def run(demo, threshold: float, samples, error: str = "probe") -> tuple[torch.Tensor, list[list[bool]]]:
    model, runs = dicache.attach(demo.model, STEPS, threshold, error)
    return demo.sample(model, samples, STEPS), torch.cat([torch.stack(r.computed, 1) for r in runs]).tolist()


@pytest.mark.parametrize("error", dicache.ERRORS)
def test_dicache_computes_less_the_higher_the_threshold_and_each_sample_for_itself(demo, error):
    samples = demo.samples(4)
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
