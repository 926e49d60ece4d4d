"""A run's evaluations are foreseen without the network, without a trace, and refused where they can't be."""

from __future__ import annotations

import itertools

import pytest
import torch
from comfy.samplers import SAMPLER_NAMES, calculate_sigmas, sampler_object

from recache.caching import Reason
from recache.caching.dry_run import Evaluations, dry_run, evaluation_times
from tests.sampling import models

pytestmark = pytest.mark.usefixtures("host")
STOCHASTIC = ("ancestral", "sde", "ddpm", "lcm", "seeds", "sa_solver")  # in the names of the host's samplers with noise


def model_sampling(name: str = "sd3"):
    return models(name)[0].get_model_object("model_sampling")


def of(sampler, levels=None, name: str = "sd3", dims: int = 4) -> Evaluations:
    if isinstance(sampler, str):
        sampler = sampler_object(sampler)
    sigmas = calculate_sigmas(model_sampling(name), "simple", 8) if levels is None else torch.tensor(levels)
    return dry_run(sampler, sigmas, model_sampling(name), dims, [])


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_every_sampler_is_planned_or_refused(sampler):
    found = of(sampler)
    if sampler == "dpm_adaptive":
        assert found.refusal == Reason("sampler_adaptive") and len(found) == 0
        return
    assert found.refusal is None
    assert len(found) == len(found.times) >= 7
    assert all(0.0 <= time <= 1.0 for time in found.times)
    assert found.stochastic == any(word in sampler for word in STOCHASTIC)
    assert all(found.expects(i, sigma) for i, sigma in enumerate(found.sigmas))
    assert not found.expects(len(found), found.sigmas[-1])
    assert not found.expects(0, 0.9 * found.sigmas[0])


@pytest.mark.parametrize("name", ["sd3", "flux", "wan21_t2v", "sd15", "ltxv"])
def test_times_fall_from_one(name):
    times = of("euler", name=name).times
    assert times[0] == pytest.approx(1.0, abs=0.01)
    assert all(one > other for one, other in itertools.pairwise(times))


def test_times_are_those_of_the_models_own_clock():
    """The time of a noise level is the timestep that the model is given for it, whatever the shift."""
    sampling = model_sampling("sd15")
    sigma = float(sampling.sigma(torch.tensor(499.0)))
    assert evaluation_times([sigma], sampling)[0] == pytest.approx(499 / 999, abs=1e-3)


@pytest.mark.parametrize("sampler, evaluations", [("euler", 8), ("heun", 15), ("dpm_2", 15), ("dpmpp_2m", 8)])
def test_counts(sampler, evaluations):
    assert len(of(sampler)) == evaluations


def test_denoising_less_starts_lower():
    full, part = of("euler"), of("euler", [0.5, 0.3, 0.1, 0.0])
    assert len(part) == 3
    assert part.times[0] < full.times[0]


def test_every_number_of_dimensions():
    for dims in (3, 4, 5):
        assert len(of("dpmpp_2m_sde", dims=dims)) == 8


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_the_random_numbers_are_left_alone(sampler):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    of(sampler)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_noise_levels_are_left_alone():
    levels = torch.tensor([1.0, 0.5, 0.0])

    class Spoiling:
        def sample(self, model_wrap, sigmas, *args):
            sigmas.mul_(2.0)

    dry_run(Spoiling(), levels, model_sampling(), 4, [])
    assert levels.tolist() == [1.0, 0.5, 0.0]


def asking(body):
    """A sampler that does `body(ask, sigmas, noise, model_wrap)`, `ask(x, sigma)` being a call of the denoiser."""
    class Sampler:
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *args):
            body(lambda x, sigma: model_wrap(x, sigma * noise.new_ones(1), **extra_args), sigmas, noise, model_wrap)
            return noise

    return Sampler()


def raises(ask, sigmas, noise, model_wrap):
    ask(noise, sigmas[0])
    raise RuntimeError("out of ideas")


def loops(ask, sigmas, noise, model_wrap):
    while True:
        noise = ask(noise, sigmas[0])


def reads_the_network(ask, sigmas, noise, model_wrap):
    model_wrap.inner_model.diffusion_model(noise)


def reads_the_conds(ask, sigmas, noise, model_wrap):
    model_wrap.conds["positive"]


def stops_when_it_likes(ask, sigmas, noise, model_wrap):
    for sigma in sigmas[:-1]:
        noise = ask(noise, sigma)
        if noise.abs().max() < 0.5:
            return


def calls_by_the_prediction(ask, sigmas, noise, model_wrap):
    ask(noise, sigmas[0])
    ask(noise, sigmas[0] * ask(noise, sigmas[1]).abs().mean())


@pytest.mark.parametrize("body, code", [
    (raises, "sampler_unplannable"), (loops, "sampler_adaptive"), (reads_the_network, "sampler_unplannable"),
    (reads_the_conds, "sampler_unplannable"), (stops_when_it_likes, "sampler_adaptive"),
    (calls_by_the_prediction, "sampler_adaptive")])
def test_samplers_that_cannot_be_planned_are_refused(body, code):
    found = of(asking(body))
    assert found.refusal.code == code
    if body is raises:
        assert found.refusal.fields == {"error": "out of ideas"}
    assert len(found) == 0


def test_fresh_noise_is_noticed():
    def churns(ask, sigmas, noise, model_wrap):
        for sigma in sigmas[:-1]:
            noise = ask(noise + torch.randn_like(noise), sigma)

    assert of(asking(churns)).stochastic
    assert not of(asking(lambda ask, sigmas, noise, _: [ask(noise, sigma) for sigma in sigmas])).stochastic


def test_no_evaluations():
    found = of("euler", [1.0])
    assert found.refusal is None and len(found) == 0
