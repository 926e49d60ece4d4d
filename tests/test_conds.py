"""Whatever the conds, their order, split, areas, hooks and windows: every forecast is made from its own past."""

from __future__ import annotations

import comfy.hooks
import comfy.samplers
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy_extras import nodes_custom_sampler, nodes_pag, nodes_slg
from nodes import ConditioningCombine, ConditioningSetTimestepRange

from recache.caching import Reason
from recache.caching.history import Histories
from tests.sampling import Script, assert_same, check_plan, ksampler, models, observe, prompt, run, settings
from tests.tiny.families import FAMILIES
from tests.tiny.guidance import Control, Flipping, Rising, areas, lora_hooks, masks, several, windows, with_hooks

pytestmark = pytest.mark.usefixtures("host")
STILL = torch.full((7,), 0.5)  # six evaluations at one noise level
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


# ---- batches, splits and orders


@pytest.mark.parametrize("name", ["flux", "wan21_t2v", "sd3", "hunyuan_video", "ltxv"])
@pytest.mark.parametrize("batch", [1, 4])
@BOTH
def test_together_and_one_by_one(name, batch, cache_point, memory):
    def answers(alone, recache):
        memory.none = alone
        script = Script()
        trace = script.run(name, recache, cfg=4.0, batch=batch)
        assert all(evaluation.calls in (0, 2 if alone else 1) for evaluation in trace.evaluations[1:])
        return torch.stack(script.answers)

    reuse = {"computed": {0, 3, 4}, "cache_point": cache_point, "mechanism": "taylor"}
    together, alone = answers(False, None), answers(True, None)
    cached, cached_alone = answers(False, settings(**reuse)), answers(True, settings(**reuse))
    if torch.equal(together, alone):
        assert torch.equal(cached, cached_alone)
    else:  # the host's own differ in rounding
        torch.testing.assert_close(cached, cached_alone, rtol=1e-3, atol=1e-3)
    for i in (0, 3, 4):
        assert torch.equal(cached[i], together[i]) and torch.equal(cached_alone[i], alone[i])


@BOTH
@pytest.mark.parametrize("name", ["flux", "wan21_t2v", "sd3"])
def test_the_split_may_change_mid_run(name, cache_point, memory):
    def before(i):
        memory.none = i in (1, 3, 4)

    script, plain = Script(0.0, before), Script(0.0, before)
    plain.run(name, None, STILL, cfg=4.0)
    trace = script.run(name, settings(computed={0, 3}, cache_point=cache_point, mechanism="reuse"), STILL, cfg=4.0)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned
    for answer, own in zip(script.answers, plain.answers):
        torch.testing.assert_close(answer, own, rtol=1e-3, atol=1e-3)


@BOTH
@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("tokens", [None, 11])
def test_the_order_may_flip_mid_run(cache_point, one_by_one, tokens, memory):
    memory.none = one_by_one

    def guider(model):
        made = Flipping(model)
        made.set_conds(prompt("sd3", 1), prompt("sd3", 2, tokens))
        made.set_cfg(4.0)
        return made

    script, plain = Script(0.0), Script(0.0)
    plain.run("sd3", None, STILL, guider=guider)
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


@pytest.mark.parametrize("one_by_one", [False, True])
@pytest.mark.parametrize("conds", [areas, masks, several])
@pytest.mark.parametrize("name", ["sd3", "flux"])
@BOTH
def test_areas_masks_and_several_prompts(cache_point, name, conds, one_by_one, memory):
    memory.none = one_by_one
    prompts = conds(name)
    script, plain = Script(0.0), Script(0.0)
    plain.run(name, None, STILL, cfg=3.0, prompts=prompts)
    trace = script.run(name, settings(computed={0, 3}, cache_point=cache_point, mechanism="reuse"), STILL, cfg=3.0,
                       prompts=prompts)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned and not trace.report.notes
    assert_same(script, plain, cache_point)


@BOTH
@pytest.mark.parametrize("name", ["sd3", "sd15"])
def test_a_cond_that_appears_mid_run_is_computed_and_reported(name, cache_point):
    until = ConditioningSetTimestepRange().set_range(prompt(name, 1), 0.0, 0.5)[0]
    since = ConditioningSetTimestepRange().set_range(prompt(name, 3), 0.5, 1.0)[0]
    prompts = ConditioningCombine().combine(until, since)[0], prompt(name, 2)
    sampling = models(name)[0].get_model_object("model_sampling")
    sigmas = sampling.sigma(torch.linspace(0.95, 0.05, 11) * sampling.timestep(sampling.sigma_max))
    switch = int((sigmas[:-1] > sampling.percent_to_sigma(0.5)).sum())
    assert 2 < switch < 7
    script, plain = Script(), Script()
    plain.run(name, None, sigmas, cfg=3.0, prompts=prompts)
    trace = script.run(name, settings(computed={0, 1, 8}, cache_point=cache_point), sigmas, cfg=3.0, prompts=prompts)
    assert trace.report.unplanned == [(switch, NO_HISTORY)]
    assert trace.report.computed == [0, 1, switch, 8]
    assert torch.equal(script.answers[switch], plain.answers[switch])


@BOTH
def test_guidance_that_starts_mid_run(cache_point):
    def guider(model):
        made = Rising(model)
        made.set_conds(*FAMILIES["sd3"].conditioning())
        return made

    script, plain = Script(), Script()
    plain.run("sd3", None, guider=guider)
    trace = script.run("sd3", settings(computed={0, 1}, cache_point=cache_point), guider=guider)
    assert trace.report.unplanned == [(3, NO_HISTORY)]
    assert torch.equal(script.answers[3], plain.answers[3])


@BOTH
@pytest.mark.parametrize("style", ["regular", "nested"])
def test_dual_guidance(style, cache_point):
    def guider(model):
        conds = (prompt("sd3", seed) for seed in (1, 2, 3))
        return nodes_custom_sampler.DualCFGGuider.execute(model, *conds, 3.0, 2.0, style).args[0]

    script, plain = Script(0.0), Script(0.0)
    plain.run("sd3", None, STILL, guider=guider)
    trace = script.run("sd3", settings(computed={0, 3}, cache_point=cache_point), STILL, guider=guider)
    assert trace.report.computed == [0, 3]
    assert_same(script, plain, cache_point)


@BOTH
def test_guidance_by_a_second_model(cache_point):
    if not hasattr(nodes_custom_sampler, "DualModelGuider"):
        pytest.skip("this ComfyUI has no DualModelGuider")

    def guider(model):
        return nodes_custom_sampler.DualModelGuider.execute(
            model, prompt("flux", 1), 3.0, models("chroma")[0], prompt("chroma", 2)).args[0]

    script, plain = Script(0.0), Script(0.0)
    plain.run("flux", None, STILL, guider=guider)
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
def test_a_second_call_of_the_same_cond_has_a_cache_of_its_own(name, cache_point, one_by_one, memory):
    memory.none = one_by_one
    model = nodes_slg.SkipLayerGuidanceDiT.execute(
        models(name)[0], 3.0, 0.0, 1.0, double_layers="0", single_layers="1").args[0]
    script, plain, without = Script(0.0), Script(0.0), Script(0.0)
    plain.run(name, None, STILL, model=model, cfg=3.0)
    without.run(name, None, STILL, cfg=3.0)
    assert not torch.allclose(plain.answers[0], without.answers[0])
    trace = script.run(name, settings(computed={0, 3}, cache_point=cache_point), STILL, model=model, cfg=3.0)
    assert trace.report.computed == [0, 3] and not trace.report.unplanned
    assert_same(script, plain, cache_point)


@BOTH
def test_skip_layer_guidance_for_a_part_of_the_run(cache_point):
    model = nodes_slg.SkipLayerGuidanceDiT.execute(models("flux")[0], 3.0, 0.3, 0.7, double_layers="0").args[0]
    script, plain = Script(), Script()
    plain.run("flux", None, model=model, cfg=3.0)
    trace = script.run("flux", settings(computed={0, 6}, cache_point=cache_point), model=model, cfg=3.0)
    assert len(trace.report.unplanned) == 1
    assert trace.report.unplanned[0][1] == NO_HISTORY
    assert torch.equal(script.answers[6], plain.answers[6])


def test_perturbed_attention_guidance_node():
    model = nodes_pag.PerturbedAttentionGuidance.execute(models("sdxl")[0], 3.0).args[0]
    trace = observe(model, settings(computed={0, 2}), ksampler("sdxl", steps=3, cfg=2.0))
    assert [evaluation.calls for evaluation in trace.evaluations] == [2, 0, 2]


@pytest.mark.parametrize("sampler", [name for name in comfy.samplers.SAMPLER_NAMES if "cfg_pp" in name])
@BOTH
def test_cfg_pp_samplers(sampler, cache_point):
    """They read the uncond prediction of cached evaluations too; with all computed, nothing may differ."""
    plain = run("sd3", None, sampler=sampler, cfg=1.0, steps=8)
    trace = run("sd3", settings(computed=set(range(7)), cache_point=cache_point), sampler=sampler, cfg=1.0, steps=8)
    assert trace.samples.isfinite().all()
    assert (trace.samples - plain.samples).std() < plain.samples.std()


# ---- hooks


@BOTH
def test_lora_hooks(cache_point):
    prompts = with_hooks(lora_hooks())
    script, plain, without = Script(0.0), Script(0.0), Script(0.0)
    plain.run("flux", None, STILL, cfg=3.0, prompts=prompts)
    without.run("flux", None, STILL, cfg=3.0, prompts=(prompt("flux", 1), prompt("flux", 2)))
    assert not torch.allclose(plain.answers[0], without.answers[0])
    trace = script.run("flux", settings(computed={0, 3}, cache_point=cache_point), STILL, cfg=3.0, prompts=prompts)
    assert trace.report.computed == [0, 3]
    assert_same(script, plain, cache_point)


@BOTH
def test_a_schedule_of_lora_strength_goes_on_during_cached_evaluations(cache_point):
    strengths = (0.0, 0.4, 0.8, 1.2, 1.6)
    script, plain = Script(), Script()
    plain.run("flux", None, cfg=3.0, prompts=with_hooks(lora_hooks(strengths)))
    trace = script.run("flux", settings(computed={0, 7}, cache_point=cache_point), cfg=3.0,
                       prompts=with_hooks(lora_hooks(strengths)))
    assert trace.report.computed == [0, 7]
    assert torch.equal(script.answers[7], plain.answers[7])


# ---- ControlNet


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
@pytest.mark.parametrize("schedule", ["standard_static", "standard_uniform", "looped_uniform", "batched"])
def test_windows_of_frames_never_take_each_others_features(schedule, cache_point):
    """Noise levels so close that a window's answer hardly moves, though the shifting windows count them as steps."""
    model, latent = windows(schedule)
    sigmas = torch.linspace(0.5, 0.499, 9)
    script, plain = Script(0.0), Script(0.0)
    plain.run("wan21_t2v", None, sigmas, model=model, latent=latent, cfg=2.0)
    trace = script.run("wan21_t2v", settings(computed={0, 1, 4}, cache_point=cache_point, mechanism="reuse"), sigmas,
                       model=model, latent=latent, cfg=2.0)
    for i, (answer, own) in enumerate(zip(script.answers, plain.answers)):
        assert (answer - own).std() < 0.3 * own.std(), i
    if schedule in ("standard_static", "batched"):
        assert trace.report.computed == [0, 1, 4]
    else:
        assert trace.report.unplanned and all(reason == NO_HISTORY for _, reason in trace.report.unplanned)


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
