"""Exactness: whatever the sampler, exactly the evaluations of the plan are computed, and no more than are paid for."""

from __future__ import annotations

import comfy_extras.nodes_custom_sampler as custom
import pytest
import torch
from comfy.samplers import SAMPLER_NAMES, calculate_sigmas, sampler_object
from comfy.samplers import ksampler as make_sampler
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from nodes import KSamplerAdvanced

from recache import caching
from recache.caching import Reason
from tests.sampling import advanced, check_plan, models, observe, run, settings
from tests.tiny.families import FAMILIES

pytestmark = pytest.mark.usefixtures("host")
FAMILY = "sd3"  # the cheapest that has blocks
ADAPTIVE = "dpm_adaptive"  # the one of the host that chooses its evaluations by what the model answers
PLANNED = [name for name in SAMPLER_NAMES if name != ADAPTIVE]
BUDGET = 0.6
BOTH = pytest.mark.parametrize("cache_point", ["output", "blocks"])


def sigmas(steps: int, scheduler: str = "simple") -> torch.Tensor:
    return calculate_sigmas(models(FAMILY)[0].get_model_object("model_sampling"), scheduler, steps)


# Every sampler at both cache points, with guidance at one of them and without at the other, at two lengths.
RUNS = [(sampler, cache_point, *((1.0, 7), (4.0, 8))[(i + j) % 2])
        for i, sampler in enumerate(PLANNED) for j, cache_point in enumerate(("output", "blocks"))]
LONG = [("euler", "output", 4.0, 50), ("euler", "blocks", 1.0, 50), ("dpmpp_3m_sde", "output", 1.0, 20),
        ("dpmpp_3m_sde", "blocks", 4.0, 20), ("heun", "output", 1.0, 20), ("heun", "blocks", 4.0, 20)]


@pytest.mark.parametrize("sampler, cache_point, cfg, steps", RUNS + LONG)
def test_every_sampler_computes_exactly_the_plan(sampler, cache_point, cfg, steps):
    trace = run(FAMILY, settings(BUDGET, cache_point=cache_point), sampler=sampler, steps=steps, cfg=cfg)
    check_plan(trace, BUDGET)
    assert trace.report.cache_point == cache_point
    assert len(trace.computed) < len(trace.evaluations)
    assert trace.samples.isfinite().all()


@pytest.mark.parametrize("name", [ADAPTIVE, "SamplerDPMAdaptative"])
def test_an_adaptive_sampler_runs_uncached_and_says_why(name):
    if name == ADAPTIVE:
        sampler = sampler_object(ADAPTIVE)
    else:
        sampler = custom.SamplerDPMAdaptative.execute(3, 0.05, 0.0078, 0.05, 0.0, 1.0, 0.0, 0.81, 0.0, 1.0).args[0]
    sample = advanced(FAMILY, sampler, sigmas(4), cfg=4.0)
    plain = observe(models(FAMILY)[0], None, sample)
    for cache_point in ("output", "blocks"):
        trace = observe(models(FAMILY)[0], settings(BUDGET, cache_point=cache_point), sample)
        assert torch.equal(trace.samples, plain.samples)
        assert trace.with_network == list(range(len(plain.evaluations)))
        assert trace.report.planned == [] and trace.report.unplanned == []
        assert trace.report.notes == [Reason("sampler_adaptive")]
        assert trace.report.computed == trace.with_network


SAMPLER_NODES = {
    "SamplerLMS": lambda: custom.SamplerLMS.execute(4),
    "SamplerDPMPP_2M_SDE": lambda: custom.SamplerDPMPP_2M_SDE.execute("heun", 1.0, 1.0, "cpu"),
    "SamplerDPMPP_3M_SDE": lambda: custom.SamplerDPMPP_3M_SDE.execute(1.0, 1.0, "gpu"),
    "SamplerDPMPP_SDE": lambda: custom.SamplerDPMPP_SDE.execute(0.5, 1.0, 0.5, "cpu"),
    "SamplerDPMPP_2S_Ancestral": lambda: custom.SamplerDPMPP_2S_Ancestral.execute(1.0, 1.0),
    "SamplerEulerAncestral": lambda: custom.SamplerEulerAncestral.execute(0.3, 1.0),
    "SamplerEulerAncestralCFGPP": lambda: custom.SamplerEulerAncestralCFGPP.execute(1.0, 1.0),
    "SamplerER_SDE": lambda: custom.SamplerER_SDE.execute("ER-SDE", 3, 1.0, 1.0),
    "SamplerSASolver": lambda: custom.SamplerSASolver.execute(
        models(FAMILY)[0], 1.0, 0.2, 0.8, 1.0, 3, 4, True, False),
    "SamplerSEEDS2": lambda: custom.SamplerSEEDS2.execute("phi_2", 1.0, 1.0, 0.5),
}


@pytest.mark.parametrize("node", SAMPLER_NODES)
@BOTH
def test_sampler_nodes_too(node, cache_point):
    sampler = SAMPLER_NODES[node]().args[0]
    trace = observe(models(FAMILY)[0], settings(BUDGET, cache_point=cache_point),
                    advanced(FAMILY, sampler, sigmas(8), cfg=2.0))
    check_plan(trace, BUDGET)
    assert len(trace.computed) < len(trace.evaluations)


@BOTH
def test_churn_is_planned(cache_point):
    sampler = make_sampler("euler", {"s_churn": 2.0})
    trace = observe(models(FAMILY)[0], settings(BUDGET, cache_point=cache_point), advanced(FAMILY, sampler, sigmas(8)))
    check_plan(trace, BUDGET)


SIGMAS = {
    "restart": [1.0, 0.8, 0.6, 0.4, 0.8, 0.6, 0.4, 0.2, 0.0],
    "repeated": [1.0, 0.8, 0.8, 0.8, 0.5, 0.5, 0.2, 0.0],
    "without_zero": [1.0, 0.8, 0.6, 0.4, 0.3],
    "upwards": [0.1, 0.3, 0.5, 0.7, 0.9],
    "constant": [0.5, 0.5, 0.5, 0.5, 0.5],
}


# Every pair of noise levels, sampler, mechanism and cache point.
PAIRS = [(levels, ("euler", "heun", "lcm")[(i + j) % 3], *mechanism, ("output", "blocks")[(i + j) % 2])
         for i, levels in enumerate(SIGMAS)
         for j, mechanism in enumerate([("taylor", 3), ("hermite", 2), ("reuse", 1), ("residual", 1)])]


@pytest.mark.parametrize("levels, sampler, mechanism, order, cache_point", PAIRS)
def test_any_noise_levels(levels, sampler, mechanism, order, cache_point):
    trace = observe(
        models(FAMILY)[0], settings(BUDGET, cache_point=cache_point, mechanism=mechanism, order=order),
        advanced(FAMILY, sampler_object(sampler), torch.tensor(SIGMAS[levels])))
    check_plan(trace, BUDGET)
    assert trace.samples.isfinite().all()
    assert all(0.0 <= time <= 1.0 for time in trace.report.times)


@pytest.mark.parametrize("levels", [[1.0], []])
def test_no_evaluations_at_all(levels):
    trace = observe(models(FAMILY)[0], None, advanced(FAMILY, sampler_object("euler"), torch.tensor(levels)))
    assert not trace.evaluations
    sample = advanced(FAMILY, sampler_object("euler"), torch.tensor(levels))
    samples = sample(caching.attach(models(FAMILY)[0], settings(BUDGET)))
    assert torch.equal(samples, trace.samples)


@pytest.mark.parametrize("steps", [1, 2, 3])
@BOTH
def test_few_steps(steps, cache_point):
    check_plan(run(FAMILY, settings(0.34, cache_point=cache_point), steps=steps, cfg=4.0), 0.34)


@pytest.mark.parametrize("denoise", [0.8, 0.5, 0.2])
@BOTH
def test_part_of_the_noise(denoise, cache_point):
    latent = FAMILIES[FAMILY].latent()
    trace = run(FAMILY, settings(BUDGET, cache_point=cache_point), steps=8, denoise=denoise, latent=latent)
    check_plan(trace, BUDGET)
    assert len(trace.evaluations) == 8
    assert trace.report.times[0] < 1.0


@pytest.mark.parametrize("start, end", [(0, 6), (6, 12), (3, 1000), (11, 12)])
@BOTH
def test_a_window_of_steps(start, end, cache_point):
    def sample(model):
        return KSamplerAdvanced().sample(
            model, "enable", 1, 12, 4.0, "euler", "simple", *FAMILIES[FAMILY].conditioning(),
            FAMILIES[FAMILY].latent(), start, end, "enable")[0]["samples"]

    trace = observe(models(FAMILY)[0], settings(BUDGET, cache_point=cache_point), sample)
    check_plan(trace, BUDGET)
    assert len(trace.evaluations) == min(end, 12) - start


@pytest.mark.parametrize("scheduler", ["normal", "karras", "exponential", "sgm_uniform", "ddim_uniform", "beta",
                                       "linear_quadratic", "kl_optimal"])
@pytest.mark.parametrize("family", [FAMILY, "wan21_t2v"])
def test_every_scheduler(scheduler, family):
    check_plan(run(family, settings(BUDGET, cache_point="output"), scheduler=scheduler, steps=7), BUDGET)


@BOTH
def test_a_sampler_that_changes_the_size_never_forecasts_across_it(cache_point):
    sampler = SamplerLCMUpscale.execute(2.0, 3, "bislerp").args[0]
    trace = observe(models("flux")[0], settings(0.3, cache_point=cache_point), advanced("flux", sampler, sigmas(8)))
    assert trace.samples.shape[-1] > FAMILIES["flux"].latent_shape[-1]
    assert trace.report.computed == trace.computed
    assert trace.report.unplanned, "the first evaluation of a new size has nothing to be forecast from"
    assert {reason.code for _, reason in trace.report.unplanned} == {"no_history"}


def test_a_sampler_that_drives_the_network_itself_runs_uncached():
    class Odd:
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None,
                   disable_pbar=False):
            assert model_wrap.inner_model.diffusion_model is not None  # what no dry run can offer
            return noise

    sample = advanced(FAMILY, Odd(), sigmas(4))
    trace = observe(models(FAMILY)[0], settings(BUDGET), sample)
    assert torch.equal(trace.samples, observe(models(FAMILY)[0], None, sample).samples)
    assert trace.report.notes == [Reason("sampler_needs_model", {"name": "diffusion_model"})]
