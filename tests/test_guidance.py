"""How guidance is forecast: it follows its trend less, the larger cfg and the gap are."""

from __future__ import annotations

import pytest
import torch

from recache.caching import guidance
from recache.caching.feature_kind import FeatureKind
from recache.caching.guidance import Guidance, guidance_trend
from recache.caching.history import Features, Histories
from recache.caching.host_calls import CondBatch
from recache.caching.mechanisms import make
from recache.caching.output_cache import OutputCache
from tests.sampling import run, settings


def test_the_trend_of_guidance():
    assert [guidance_trend(cfg, 0.3) for cfg in (0.5, 1.0, 4.0, 30.0)] == [1.0, 1.0, 0.0, 0.0]
    assert guidance_trend(2.0, 0.3) == pytest.approx(1.0) and guidance_trend(2.0, 0.55) == pytest.approx(0.5)
    assert guidance_trend(3.0, 0.15) == pytest.approx(1.0) and guidance_trend(None, 0.4) == pytest.approx(0.4)


def forecast(mechanism, cfg, *values):
    """The predictions at position 4 of 8 of conds with these features at positions 0 and 2; the noise level is 1."""
    histories = Histories(make(mechanism), None, Guidance(cfg, 8))
    for position in (0, 2):
        for key, features in enumerate(values):
            histories.record(Features((key,), torch.full((1, 1), features[position // 2])), position)
    x = torch.zeros(1, 1)
    batch = CondBatch(None, None, [[]] * len(values), x, torch.ones(1), {}, [[]] * len(values),
                      [(key,) for key in range(len(values))])
    return [-float(out) for out in OutputCache(histories, FeatureKind.DIRECTION).forecast(batch, 4, 1.0)]


def test_the_negative_prediction_keeps_its_trend_and_the_difference_gets_less_of_its_own():
    positive, negative = (1.0, 4.0), (0.0, 1.0)  # trends: 7 and 2; the difference is 1, then 3, and 5 by its trend
    assert forecast("taylor", 1.0, positive, negative) == [7.0, 2.0]
    assert forecast("taylor", 9.0, positive, negative) == [5.0, 2.0]
    assert forecast("taylor", 2.1, positive, negative) == pytest.approx([2.0 + 3.0 + 0.5 * 2.0, 2.0])
    assert forecast("reuse", 2.1, positive, negative) == [4.0, 1.0]
    assert forecast("taylor", 9.0, positive) == [7.0]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("name", ["flux", "wan21_t2v"])
@pytest.mark.parametrize("point", ["output", "blocks"])
def test_it_follows_less_of_its_trend_at_both_cache_points(monkeypatch, point, name):
    def sampled(cfg, share):
        monkeypatch.setattr(guidance, "guidance_trend", lambda cfg, span: share)
        return run(name, settings(computed={0, 2}, cache_point=point, mechanism="taylor"), steps=4, cfg=cfg).samples

    assert not torch.equal(sampled(4.0, 1.0), sampled(4.0, 0.0))
    assert torch.equal(sampled(1.0, 1.0), sampled(1.0, 0.0))  # a cond alone is its own negative
