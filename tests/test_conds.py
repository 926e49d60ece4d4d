"""Whatever the conds, their order, split, areas, hooks and windows: every forecast is made from its own past."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras import nodes_custom_sampler, nodes_pag, nodes_slg
from nodes import ConditioningCombine, ConditioningSetTimestepRange

from recache.caching import Reason
from recache.caching.history import KEPT, Histories
from tests.sampling import Script, assert_same, check_plan, ksampler, models, observe, prompt, run, settings
from tests.tiny.families import FAMILIES
from tests.tiny.guidance import Control, Flipping, Rising, areas, lora_hooks, masks, several, windows, with_hooks

pytestmark = pytest.mark.usefixtures("host")
STILL = torch.full((7,), 0.5)  # six evaluations at one noise level
TWO_LEVELS = torch.tensor([0.9] * 3 + [0.3] * 4)  # three evaluations at each; halfway is between them
NO_HISTORY = Reason("no_history")
BOTH = pytest.mark.parametrize("cache_point", ["output", "blocks"])


class Memory:
    """Free memory as the host sees it: where there is none, it runs every cond for itself."""

    def __init__(self, monkeypatch):
        self.none = False
        real = ModelPatcher.get_free_memory
        monkeypatch.setattr(ModelPatcher, "get_free_memory",
                            lambda patcher, device: 0 if self.none else real(patcher, device))


@pytest.fixture
def memory(monkeypatch) -> Memory:
    return Memory(monkeypatch)


UNCACHED: dict[tuple, Script] = {}


@pytest.fixture
def uncached(request) -> Callable[..., Script]:
    """`Script.run` without ReCache, once for all cache points of a test; returns the script.

    The function takes the arguments of Script, by name, and of its `run`.
    """
    params = {name: value for name, value in request.node.callspec.params.items() if name != "cache_point"}
    calls = itertools.count()

    def run(name: str, sigmas=None, pace: float = 0.1, before=lambda i: None, **options) -> Script:
        key = request.node.originalname, next(calls), *sorted(params.items())
        if key not in UNCACHED:
            script = Script(pace, before)
            script.run(name, None, sigmas, **options)
            UNCACHED[key] = script
        return UNCACHED[key]

    return run


# ---- batches, splits and orders


@pytest.mark.parametrize("name, batch", [("flux", 4), ("wan21_t2v", 1), ("sd3", 1), ("sd3", 4), ("hunyuan_video", 4),
                                         ("ltxv", 1)])
@BOTH
def test_together_and_one_by_one(name, batch, cache_point, memory, uncached):
    def answers(alone):
        memory.none = alone
        own = uncached(name, cfg=4.0, batch=batch)
        script = Script()
        trace = script.run(name, settings(computed={0, 3, 4}, cache_point=cache_point), cfg=4.0, batch=batch)
        replays = [int(cache_point == "blocks" and i == 0) for i in range(8)]
        assert [evaluation.calls - replayed for evaluation, replayed in zip(trace.evaluations, replays)] == [
            (2 if alone else 1) if cache_point == "blocks" or i in (0, 3, 4) else 0 for i in range(8)]
        return torch.stack(own.answers), torch.stack(script.answers)

    (together, cached), (alone, cached_alone) = answers(False), answers(True)
    if torch.equal(together, alone):
        assert torch.equal(cached, cached_alone)
    else:  # the host's own differ in rounding
        torch.testing.assert_close(cached, cached_alone, rtol=1e-3, atol=1e-3)
    for i in (0, 3, 4):
        assert torch.equal(cached[i], together[i]) and torch.equal(cached_alone[i], alone[i])


@BOTH
@pytest.mark.parametrize("name", ["flux", "wan21_t2v", "sd3"])
def test_the_split_may_change_mid_run(name, cache_point, memory, uncached):
    def before(i):
        memory.none = i in (1, 3, 4)

    script, plain = Script(0.0, before), uncached(name, STILL, 0.0, before, cfg=4.0)
    trace = script.run(name, settings(computed={0, 3}, cache_point=cache_point, mechanism="reuse"), STILL, cfg=4.0)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned
    for answer, own in zip(script.answers, plain.answers):
        torch.testing.assert_close(answer, own, rtol=1e-3, atol=1e-3)


@BOTH
@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("tokens", [None, 11])
def test_the_order_may_flip_mid_run(cache_point, one_by_one, tokens, memory, uncached):
    memory.none = one_by_one

    def guider(model):
        made = Flipping(model)
        made.set_conds(prompt("sd3", 1), prompt("sd3", 2, tokens))
        made.set_cfg(4.0)
        return made

    script, plain = Script(0.0), uncached("sd3", STILL, 0.0, guider=guider)
    trace = script.run("sd3", settings(computed={0, 3}, cache_point=cache_point), STILL, guider=guider)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned
    for answer, own in zip(script.answers, plain.answers):
        torch.testing.assert_close(answer, own, rtol=1e-4, atol=1e-4)


@BOTH
@pytest.mark.parametrize("tokens", [8, 11, 300])
def test_prompts_of_different_lengths(cache_point, tokens):
    prompts = prompt("sd3", 1), prompt("sd3", 2, tokens)
    check_plan(run("sd3", settings(0.5, cache_point=cache_point), cfg=4.0, steps=8, prompts=prompts), 0.5)


# ---- kinds of conds


@pytest.mark.parametrize("name, conds, one_by_one", [
    ("sd3", areas, False), ("flux", areas, True), ("flux", masks, False), ("sd3", masks, True), ("sd3", several, False),
    ("flux", several, True)])
@BOTH
def test_areas_masks_and_several_prompts(cache_point, name, conds, one_by_one, memory, uncached):
    memory.none = one_by_one
    prompts = conds(name)
    script, plain = Script(0.0), uncached(name, STILL, 0.0, cfg=3.0, prompts=prompts)
    trace = script.run(name, settings(computed={0, 3}, cache_point=cache_point, mechanism="reuse"), STILL, cfg=3.0,
                       prompts=prompts)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned and not trace.report.notes
    assert_same(script, plain, cache_point)


@BOTH
@pytest.mark.parametrize("name", ["sd3", "sd15"])
def test_a_cond_that_appears_mid_run_is_computed_instead_of_another(name, cache_point, uncached):
    until = ConditioningSetTimestepRange().set_range(prompt(name, 1), 0.0, 0.5)[0]
    since = ConditioningSetTimestepRange().set_range(prompt(name, 3), 0.5, 1.0)[0]
    prompts = ConditioningCombine().combine(until, since)[0], prompt(name, 2)
    sampling = models(name)[0].get_model_object("model_sampling")
    sigmas = sampling.sigma(torch.linspace(0.95, 0.05, 11) * sampling.timestep(sampling.sigma_max))
    switch = int((sigmas[:-1] > sampling.percent_to_sigma(0.5)).sum())
    assert 2 < switch < 7
    script, plain = Script(), uncached(name, sigmas, cfg=3.0, prompts=prompts)
    trace = script.run(name, settings(computed={0, 1, 8}, cache_point=cache_point), sigmas, cfg=3.0, prompts=prompts)
    assert trace.report.computed == trace.report.planned == trace.computed and not trace.report.unplanned
    assert {0, switch} < set(trace.report.computed) and len(trace.report.computed) == 3
    assert torch.equal(script.answers[switch], plain.answers[switch])


@BOTH
def test_a_part_of_a_prompt_leaves_and_the_rest_goes_on(cache_point):
    """While both are used, what belongs to the one alone is freed: at the output its return is computed, as planned."""
    middle = ConditioningSetTimestepRange().set_range(prompt("sd3", 3), 0.3, 0.65)[0]
    prompts = ConditioningCombine().combine(prompt("sd3", 1), middle)[0], prompt("sd3", 2)
    sampling = models("sd3")[0].get_model_object("model_sampling")
    sigmas = sampling.sigma(torch.linspace(0.95, 0.05, 21) * sampling.timestep(sampling.sigma_max))
    active = [sampling.percent_to_sigma(0.65) <= sigma <= sampling.percent_to_sigma(0.3) for sigma in sigmas[:-1]]
    begins, returns = active.index(True), len(active) - active[::-1].index(True)
    assert returns - begins > KEPT
    trace = Script().run("sd3", settings(computed={0, 1, 2}, cache_point=cache_point), sigmas, cfg=3.0,
                         prompts=prompts)
    assert trace.report.planned == trace.report.computed == trace.computed and not trace.report.unplanned
    assert trace.report.computed == ([0, begins, returns] if cache_point == "output" else [0, 1, begins])


def test_an_evaluation_at_which_two_parts_of_a_prompt_meet():
    """Both are used in it, and the host combines their predictions: at the output nothing else is like that."""
    until = ConditioningSetTimestepRange().set_range(prompt("sd3", 1), 0.0, 0.5)[0]
    since = ConditioningSetTimestepRange().set_range(prompt("sd3", 3), 0.5, 1.0)[0]
    prompts = ConditioningCombine().combine(until, since)[0], prompt("sd3", 2)
    middle = float(models("sd3")[0].get_model_object("model_sampling").percent_to_sigma(0.5))
    sigmas = torch.tensor([0.95, 0.9, middle, 0.4, 0.2, 0.1, 0.0])
    for cache_point, computed in (("output", [0, 2, 3]), ("blocks", [0, 2, 5])):
        trace = Script().run("sd3", settings(computed={0, 4, 5}, cache_point=cache_point), sigmas, cfg=3.0,
                             prompts=prompts)
        assert trace.report.planned == trace.report.computed == trace.computed == computed
        assert not trace.report.unplanned and [note.code for note in trace.report.notes] == ["plan_moved"]


@BOTH
def test_guidance_that_starts_mid_run(cache_point, uncached):
    def guider(model):
        made = Rising(model)
        made.set_conds(*FAMILIES["sd3"].conditioning())
        return made

    script, plain = Script(), uncached("sd3", guider=guider)
    trace = script.run("sd3", settings(computed={0, 1}, cache_point=cache_point), guider=guider)
    assert trace.report.unplanned == [(3, NO_HISTORY)]
    assert torch.equal(script.answers[3], plain.answers[3])


@BOTH
@pytest.mark.parametrize("style", ["regular", "nested"])
def test_dual_guidance(style, cache_point, uncached):
    def guider(model):
        conds = (prompt("sd3", seed) for seed in (1, 2, 3))
        return nodes_custom_sampler.DualCFGGuider.execute(model, *conds, 3.0, 2.0, style).args[0]

    script, plain = Script(0.0), uncached("sd3", STILL, 0.0, guider=guider)
    trace = script.run("sd3", settings(computed={0, 3}, cache_point=cache_point), STILL, guider=guider)
    assert trace.report.computed == [0, 3]
    assert_same(script, plain, cache_point)


@BOTH
def test_guidance_by_a_second_model(cache_point, uncached):
    if not hasattr(nodes_custom_sampler, "DualModelGuider"):
        pytest.skip("this ComfyUI has no DualModelGuider")

    def guider(model):
        return nodes_custom_sampler.DualModelGuider.execute(
            model, prompt("flux", 1), 3.0, models("chroma")[0], prompt("chroma", 2)).args[0]

    script, plain = Script(0.0), uncached("flux", STILL, 0.0, guider=guider)
    trace = script.run("flux", settings(computed={0, 3}, cache_point=cache_point), STILL, guider=guider)
    assert_same(script, plain, cache_point)
    if cache_point == "output":
        assert trace.report.computed == [0, 3]
    else:
        assert {reason.code for _, reason in trace.report.unplanned} == {"second_model"}


# ---- guidance that calls the model again


@BOTH
@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("name", ["sd3", "flux"])
def test_a_second_call_of_the_same_cond_has_a_cache_of_its_own(name, cache_point, one_by_one, memory, uncached):
    memory.none = one_by_one
    model = nodes_slg.SkipLayerGuidanceDiT.execute(
        models(name)[0], 3.0, 0.0, 1.0, double_layers="0", single_layers="1").args[0]
    plain, without = uncached(name, STILL, 0.0, model=model, cfg=3.0), uncached(name, STILL, 0.0, cfg=3.0)
    assert not torch.allclose(plain.answers[0], without.answers[0])
    script = Script(0.0)
    trace = script.run(name, settings(computed={0, 3}, cache_point=cache_point), STILL, model=model, cfg=3.0)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned
    assert_same(script, plain, cache_point)


@BOTH
def test_skip_layer_guidance_for_a_part_of_the_run(cache_point, uncached):
    model = nodes_slg.SkipLayerGuidanceDiT.execute(models("flux")[0], 3.0, 0.3, 0.7, double_layers="0").args[0]
    script, plain = Script(), uncached("flux", model=model, cfg=3.0)
    trace = script.run("flux", settings(computed={0, 6}, cache_point=cache_point), model=model, cfg=3.0)
    assert len(trace.report.unplanned) == 1
    assert trace.report.unplanned[0][1] == NO_HISTORY
    assert torch.equal(script.answers[6], plain.answers[6])


def test_perturbed_attention_guidance_node():
    model = nodes_pag.PerturbedAttentionGuidance.execute(models("sdxl")[0], 3.0).args[0]
    trace = observe(model, settings(computed={0}), ksampler("sdxl", steps=4, cfg=3.0))
    assert [evaluation.calls for evaluation in trace.evaluations] == [2, 0, 0, 0]


@pytest.mark.parametrize("sampler", ["euler_cfg_pp", "dpmpp_2m_cfg_pp"])
@BOTH
def test_cfg_pp_samplers_read_the_forecasts_of_both_conds(sampler, cache_point):
    """They read the uncond prediction of cached evaluations too, through a post-CFG callback, at cfg 1.0 as well."""
    seen = []

    def spy(args):
        seen.append((args["cond_denoised"].clone(), args["uncond_denoised"].clone()))
        return args["denoised"]

    def sample(model):
        model.set_model_sampler_post_cfg_function(spy)
        return ksampler("sd3", sampler=sampler, cfg=1.0, steps=20)(model)

    plain = observe(models("sd3")[0], None, sample)
    own = seen.copy()
    seen.clear()
    trace = observe(models("sd3")[0], settings(computed=set(range(20)) - {9}, cache_point=cache_point), sample)
    assert trace.computed == [i for i in range(20) if i != 9]
    for (cond, uncond), (own_cond, own_uncond) in zip(seen[:9], own):
        assert torch.equal(cond, own_cond) and torch.equal(uncond, own_uncond)
    (cond, uncond), (own_cond, own_uncond) = seen[9], own[9]
    assert 0 < (cond - own_cond).std() < 0.9 * (cond - own_uncond).std()
    assert 0 < (uncond - own_uncond).std() < 0.9 * (uncond - own_cond).std()
    assert (trace.samples - plain.samples).std() < 0.2 * plain.samples.std()


# ---- hooks


@BOTH
def test_lora_hooks(cache_point, uncached):
    prompts = with_hooks(lora_hooks())
    script, plain = Script(0.0), uncached("flux", STILL, 0.0, cfg=3.0, prompts=prompts)
    without = uncached("flux", STILL, 0.0, cfg=3.0, prompts=(prompt("flux", 1), prompt("flux", 2)))
    assert not torch.allclose(plain.answers[0], without.answers[0])
    trace = script.run("flux", settings(computed={0, 3}, cache_point=cache_point), STILL, cfg=3.0, prompts=prompts)
    assert trace.report.computed == [0, 3]
    assert_same(script, plain, cache_point)


@BOTH
def test_a_schedule_of_lora_strength_goes_on_during_cached_evaluations(cache_point, uncached):
    strengths = (0.2, 0.4, 0.8, 1.2, 1.6)
    script, plain = Script(), uncached("flux", cfg=3.0, prompts=with_hooks(lora_hooks(strengths)))
    trace = script.run("flux", settings(computed={0, 7}, cache_point=cache_point), cfg=3.0,
                       prompts=with_hooks(lora_hooks(strengths)))
    assert trace.report.computed == [0, 7]
    assert torch.equal(script.answers[7], plain.answers[7])


@BOTH
def test_nothing_from_before_a_lora_ends_is_forecast_after_it(cache_point, uncached):
    def prompts():
        return with_hooks(lora_hooks((1.0, 0.0)))  # for half of the run each

    script, plain = Script(0.0), uncached("flux", TWO_LEVELS, 0.0, cfg=1.0, prompts=prompts())
    trace = script.run("flux", settings(computed={0}, cache_point=cache_point), TWO_LEVELS, cfg=1.0, prompts=prompts())
    assert trace.report.computed == [0, 3] and trace.report.unplanned == [(3, NO_HISTORY)]
    assert_same(script, plain, cache_point)


# ---- ControlNet


def test_nothing_from_before_a_controlnet_ends_is_forecast_after_it():
    def prompts():
        control = Control()
        control.set_cond_hint(torch.zeros(1), timestep_percent_range=(0.0, 0.5))
        return prompt("flux", 1, control=control, control_apply_to_uncond=True), prompt("flux", 2)

    plain, script = Script(0.0), Script(0.0)
    plain.run("flux", None, TWO_LEVELS, cfg=3.0, prompts=prompts())
    trace = script.run("flux", settings(computed={0}), TWO_LEVELS, cfg=3.0, prompts=prompts())
    assert trace.report.computed == trace.report.planned == [0, 3]
    assert trace.report.notes == [Reason("parts_added", {"count": 1})]
    assert_same(script, plain, "output")


@pytest.mark.parametrize("cache_point, mechanism", [("output", "taylor"), ("blocks", "taylor"), ("auto", "residual")])
def test_a_controlnet_neither_runs_nor_adds_on_cached_evaluations(cache_point, mechanism):
    def answers(control, recache):
        prompts = (prompt("flux", 1, control=control, control_apply_to_uncond=True), prompt("flux", 2))
        script = Script()
        return script, script.run("flux", recache, cfg=3.0, prompts=prompts)

    own, cached = Control(), Control()
    plain, _ = answers(own, None)
    script, trace = answers(cached, settings(computed={0, 3}, cache_point=cache_point, mechanism=mechanism))
    assert own.asked % 8 == 0 and cached.asked == own.asked // 8 * 2
    assert trace.report.cache_point == "output"
    if cache_point != "output":
        assert trace.report.cache_point_reason == Reason("controlnet")
    for i in (0, 3):
        assert torch.equal(script.answers[i], plain.answers[i])


# ---- inpainting and windows of frames


@BOTH
@pytest.mark.parametrize("sampler", ["euler", "ddim", "dpmpp_2m_sde"])
def test_inpainting(sampler, cache_point):
    mask = torch.zeros(1, 64, 96)
    mask[:, :, 48:] = 1.0
    latent = {**FAMILIES["sd3"].latent(), "noise_mask": mask}
    trace = run("sd3", settings(0.5, cache_point=cache_point), sampler=sampler, steps=8, latent=latent)
    check_plan(trace, 0.5)
    kept = trace.samples[..., :5] - latent["samples"][..., :5]
    assert kept.abs().max() < 1e-4


@BOTH
@pytest.mark.parametrize("schedule", ["standard_static", "batched"])
def test_windows_of_frames_never_take_each_others_features(schedule, cache_point, uncached):
    """Noise levels so close that a window's answer hardly moves."""
    model, latent = windows(schedule)
    sigmas = torch.linspace(0.5, 0.499, 9)
    script, plain = Script(0.0), uncached("wan21_t2v", sigmas, 0.0, model=model, latent=latent, cfg=2.0)
    trace = script.run("wan21_t2v", settings(computed={0, 1, 4}, cache_point=cache_point, mechanism="reuse"), sigmas,
                       model=model, latent=latent, cfg=2.0)
    for i, (answer, own) in enumerate(zip(script.answers, plain.answers)):
        assert (answer - own).std() < 0.3 * own.std(), i
    assert trace.report.computed == [0, 1, 4]


@BOTH
def test_calls_that_are_over_are_forgotten(cache_point, monkeypatch):
    """Guidance that ends, a cond that ends, windows that move on: their features must not be held to the run's end."""
    held = []
    record = Histories.record

    def spy(self, *args):
        record(self, *args)
        held.append(len(self))

    monkeypatch.setattr(Histories, "record", spy)  # not told from outside: the report has the bytes of the peak only
    model = nodes_slg.SkipLayerGuidanceDiT.execute(models("flux")[0], 3.0, 0.0, 0.4, double_layers="0").args[0]
    Script().run("flux", settings(computed={0, 1, 5, 6}, cache_point=cache_point), model=model, cfg=3.0)
    assert max(held) == 3 and held[-1] == 2


def test_a_prompt_that_is_over_is_nothing_on_cached_evaluations_too():
    """Without any cond, the host's prediction is zero; so must the forecast be."""
    model = models("sd3")[0]
    prompts = prompt("sd3", 1), ConditioningSetTimestepRange().set_range(prompt("sd3", 2), 0.0, 0.3)[0]
    uncond = []

    def spy(args):
        uncond.append(args["uncond_denoised"].abs().max())
        return args["denoised"]

    def sample(watched):
        watched.set_model_sampler_post_cfg_function(spy)
        return ksampler("sd3", steps=8, cfg=3.0, prompts=prompts)(watched)

    observe(model, settings(computed={0, 5}, cache_point="output"), sample)
    assert uncond[0] > 0 and uncond[5] == uncond[6] == uncond[7] == 0
