"""A run's evaluations are found by a dry run without the network, without a trace, and refused where they can't be."""

from __future__ import annotations

import itertools
import threading
import warnings

import pytest
import torch
from comfy.samplers import KSAMPLER, SAMPLER_NAMES, CFGGuider, calculate_sigmas, sampler_object

from recache.caching import Reason
from recache.caching.dry_run import dry_run
from recache.caching.evaluations import Evaluations, evaluation_times
from recache.caching.mechanisms import MeanCache
from recache.caching.silence import without_warnings
from tests.sampling import models

pytestmark = pytest.mark.usefixtures("host")
STOCHASTIC = ("ancestral", "sde", "ddpm", "lcm", "seeds", "sa_solver")  # in the names of the host's samplers with noise


def model_sampling(name: str = "sd3"):
    return models(name)[0].get_model_object("model_sampling")


def of(sampler, levels=None, name: str = "sd3", dims: int = 4, cfg: float = 1.0, **options) -> Evaluations:
    if isinstance(sampler, str):
        sampler = sampler_object(sampler)
    sigmas = calculate_sigmas(model_sampling(name), "simple", 8) if levels is None else torch.as_tensor(levels)
    guider = CFGGuider(models(name)[0])
    guider.set_cfg(cfg)
    guider.conds = {}  # a guider that samples has them
    return dry_run(sampler, sigmas, guider, (2, 16, *[8] * (dims - 2)), **options)


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


def test_a_warning_of_the_sampler_does_not_reach_the_console():
    def warning(model, x, sigmas, extra_args, callback, disable):
        warnings.warn("a warning of the sampler")  # noqa: B028
        for sigma in sigmas[:-1]:
            x = model(x, sigma * x.new_ones([x.shape[0]]), **extra_args)
        return x

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert len(of(KSAMPLER(warning))) == 8
        assert caught == []
        warnings.warn("after")  # noqa: B028
        assert [str(one.message) for one in caught] == ["after"]


def test_warnings_are_heard_again_after_blocks_that_overlap():
    """The block that began first ends first, on another thread."""
    filters = list(warnings.filters)
    began, ended = threading.Event(), threading.Event()

    def first():
        with without_warnings():
            began.set()
            ended.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(10)
    with without_warnings():
        ended.set()
        thread.join()
        assert warnings.filters != filters
    assert warnings.filters == filters


MULTISTEP = {"dpmpp_2m", "deis", "res_multistep", "uni_pc", "uni_pc_bh2", "ipndm", "lms", "gradient_estimation"}
SINGLE_STEP = {"euler", "euler_cfg_pp", "euler_ancestral", "ddim", "lcm", "dpmpp_2s_ancestral", "dpmpp_sde"}


@pytest.mark.parametrize("name", ["sd3", "sd15"])
@pytest.mark.parametrize("masked", [False, True])
def test_samplers_that_continue_the_trend_of_their_predictions_are_told_apart(name, masked):
    levels = calculate_sigmas(model_sampling(name), "simple", 8)
    for sampler in MULTISTEP | SINGLE_STEP:
        assert of(sampler, levels, name, masked=masked).multistep == (sampler in MULTISTEP), sampler


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

    of(Spoiling(), levels)
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
    (raises, "sampler_unplannable"), (loops, "sampler_adaptive"), (reads_the_network, "sampler_needs_model"),
    (reads_the_conds, "sampler_needs_model"), (stops_when_it_likes, "sampler_adaptive"),
    (calls_by_the_prediction, "sampler_adaptive")])
def test_samplers_that_cannot_be_planned_are_refused(body, code):
    found = of(asking(body))
    assert found.refusal.code == code
    if body is raises:
        assert found.refusal.fields == {"error": "out of ideas"}
    if body is reads_the_network:
        assert found.refusal.fields == {"name": "diffusion_model"}
    assert len(found) == 0


def test_a_sampler_that_takes_too_long_is_refused(monkeypatch):
    monkeypatch.setattr("recache.caching.dry_run.MAX_SECONDS", -1)
    assert of("euler").refusal == Reason("sampler_slow", {"seconds": -1})


@pytest.mark.parametrize("sampler", ["dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde_gpu"])
def test_no_brownian_noise_is_drawn(sampler, monkeypatch):
    """Of 2,000 steps of dpmpp_sde it would never end."""
    found = of(sampler)
    monkeypatch.setattr("torchsde.BrownianTree", lambda *args, **kwargs: pytest.fail("it was"))
    assert of(sampler) == found and found.stochastic and len(found) > 0


def test_levels_end_where_the_sampler_does():
    whole = calculate_sigmas(model_sampling(), "simple", 8)
    first, second = of("euler", whole[:4]), of("euler", whole[3:])
    assert first.levels == pytest.approx(whole[:4].tolist()) and second.levels[-1] == 0.0
    assert first.followed_by(second).levels == pytest.approx(whole.tolist())
    weights = [MeanCache(levels).weights([1, 0], 2) for levels in (first.levels, tuple(whole.tolist()))]
    assert weights[0] == pytest.approx(weights[1])


def test_fresh_noise_is_noticed():
    def churns(ask, sigmas, noise, model_wrap):
        for sigma in sigmas[:-1]:
            noise = ask(noise + torch.randn_like(noise), sigma)

    assert of(asking(churns)).stochastic
    assert not of(asking(lambda ask, sigmas, noise, _: [ask(noise, sigma) for sigma in sigmas])).stochastic


def test_no_evaluations():
    found = of("euler", [1.0])
    assert found.refusal is None and len(found) == 0
    assert {len(of(sampler, [])) for sampler in SAMPLER_NAMES} == {0}


# ---- what the sampler is given is like the run's


@pytest.mark.parametrize("cfg", [1.0, 5.0])
def test_a_sampler_that_depends_on_cfg_is_planned_with_the_guiders(cfg):
    found = of(asking(lambda ask, sigmas, noise, model: ask(noise, sigmas[0] / (1.0 + model.cfg))), [1.0, 0.5], cfg=cfg)
    assert found.refusal is None and found.sigmas == pytest.approx([1.0 / (1.0 + cfg)])


def test_a_sampler_that_depends_on_the_model_is_planned_with_its_plain_values():
    def body(ask, sigmas, noise, model):
        inner = model.inner_model
        flow = inner.model_type.name == "FLOW" and inner.latent_format.latent_channels == noise.shape[1]
        device = model.model_patcher.load_device
        ask(noise, sigmas[0] * (0.5 if flow and device.type == "cpu" and not hasattr(model, "no_such") else 1.0))

    assert of(asking(body), [1.0, 0.0]).sigmas == (0.5,)


@pytest.mark.parametrize("masked", [False, True])
def test_a_sampler_sees_the_batch_and_whether_there_is_a_mask(masked):
    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        mask = extra_args["denoise_mask"]
        alike = mask is not None and mask.shape == x.shape and 0.0 < float(mask.mean()) < 1.0
        return model(x, sigmas.new_tensor([0.5 if alike else 0.25]) / x.shape[0], **extra_args)

    assert of(KSAMPLER(sampler), masked=masked).sigmas == (0.25 if masked else 0.125,)


# ---- a copy of the sampler is run, so that the artist's own stays as it is


class Counting:
    """Keeps a generator, a counter and a list; calls once more each time that it is used."""

    def __init__(self):
        self.generator, self.used, self.calls = torch.Generator().manual_seed(7), 0, [torch.zeros(1)]

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *args):
        self.used += 1
        for _ in range(self.used):
            x = noise + torch.randn(noise.shape, generator=self.generator)
            self.calls.append(model_wrap(x, sigmas[0] * noise.new_ones(1), **extra_args))
            self.calls[0] += 1.0
        return noise


def counting_function():
    used, generator = [], torch.Generator().manual_seed(7)

    def sampler(model, x, sigmas, extra_args=None, callback=None, disable=None):
        used.append(0)
        for _ in used:
            model(x + torch.randn(x.shape, generator=generator), sigmas[:1], **extra_args)
        return x

    return KSAMPLER(sampler), used, generator


def test_the_state_of_a_sampler_object_is_left_alone():
    sampler = Counting()
    state = sampler.generator.get_state()
    found = of(sampler)
    assert (sampler.used, len(sampler.calls), float(sampler.calls[0])) == (0, 1, 0.0)
    assert torch.equal(sampler.generator.get_state(), state)
    assert found.refusal is None and len(found) == 1 and found.stochastic


def test_the_state_of_a_sampler_function_is_left_alone():
    sampler, used, generator = counting_function()
    state = generator.get_state()
    found = of(sampler)
    assert not used and torch.equal(generator.get_state(), state)
    assert found.refusal is None and len(found) == 1 and found.stochastic


def test_a_sampler_that_can_not_be_copied_is_run_itself():
    sampler = Counting()
    sampler.running = (i for i in range(3))
    assert of(sampler).refusal == Reason("sampler_adaptive") and sampler.used, "the second run calls more often"


def test_models_that_a_sampler_holds_are_not_copied():
    model = models("sd3")[0]
    seen = []

    class Holding:
        def __init__(self):
            self.model = model

        def sample(self, model_wrap, *args):
            seen.append(self.model)

    of(Holding())
    assert all(held is model for held in seen) and len(seen) == 3


def test_of_a_run_that_adds_noise_the_rest_need_not_be_compared():
    calls = []

    def body(ask, sigmas, noise, model_wrap):
        for sigma in sigmas[:-1]:
            calls.append(0)
            noise = ask(noise + torch.randn_like(noise), sigma)

    assert of(asking(body)).stochastic
    assert len(calls) == 8 + 8 + 1
