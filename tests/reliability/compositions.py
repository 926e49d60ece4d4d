"""What artists combine with ReCache, made of the host's own nodes on tiny random models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.samplers
import comfy.sd
import comfy.utils
import node_helpers
import pytest
import torch
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras import (
    nodes_apg,
    nodes_cfg,
    nodes_custom_sampler,
    nodes_differential_diffusion,
    nodes_easycache,
    nodes_freelunch,
    nodes_model_advanced,
    nodes_pag,
    nodes_perpneg,
    nodes_sag,
    nodes_slg,
)
from nodes import ConditioningCombine, ConditioningSetTimestepRange, UNETLoader

from recache import caching
from tests.reliability.stored_weights import low_vram, quantised
from tests.sampling import advanced, ksampler, models, prompt, settings
from tests.tiny.families import FAMILIES
from tests.tiny.guidance import Control, Rising, areas, lora, lora_hooks, masks, several, windows, with_hooks

STEPS = 10
SDXL_STEPS = 4  # the smallest SDXL that the host recognises is slow


@dataclass(frozen=True)
class Composition:
    """What is combined.

    Attributes:
        family: of the model.
        model: its MODEL -> the one that the Budget node gets.
        after: the MODEL that came out of the Budget node -> the one that is sampled.
        sample: makes the run (see sampling.ksampler); called anew for every run.
        attach: what a Budget node does.
    """

    family: str
    model: Callable[[Any], Any] = lambda model: model
    after: Callable[[Any], Any] = lambda model: model
    sample: Callable[[], Callable] = None
    attach: Callable[[Any, caching.CacheConfig], Any] = caching.attach
    options: dict = field(default_factory=dict)

    def run(self) -> Callable:
        """Samples with a MODEL, ready for sampling.observe."""
        if self.sample is not None:
            return self.sample()
        return ksampler(self.family, **{"steps": STEPS, "cfg": 3.0, **self.options})


def _options(family: str, **options) -> Composition:
    return Composition(family, options=options)


def _node(family: str, node, *args, **kwargs) -> Composition:
    """A node of the host that takes a MODEL and gives another."""
    def patched(model):
        made = node.execute(model, *args, **kwargs) if hasattr(node, "execute") else (
            getattr(node(), node.FUNCTION)(model, *args, **kwargs))
        return getattr(made, "args", made)[0]

    return Composition(family, patched)


def _prompts(family: str, make: Callable[[], tuple], **options) -> Composition:
    """Conds that are made anew for every run, because the host's hooks and ControlNets count."""
    return Composition(family, sample=lambda: ksampler(
        family, prompts=make(), **{"steps": STEPS, "cfg": 3.0, **options}))


def _guider(family: str, make: Callable) -> Composition:
    def sample():
        sigmas = comfy.samplers.calculate_sigmas(models(family)[0].get_model_object("model_sampling"), "simple", STEPS)
        return advanced(family, comfy.samplers.sampler_object("euler"), sigmas, guider=make)

    return Composition(family, sample=sample)


def _extra(module: str, name: str):
    """A node of a file that older hosts lack."""
    return getattr(pytest.importorskip(f"comfy_extras.{module}"), name)


# ---- conds


def _controlled(family: str, shapes: dict[str, tuple[int, ...]], **options):
    def make():
        control = Control({key: [torch.full(shape, 0.3)] for key, shape in shapes.items()})
        return prompt(family, 1, control=control, control_apply_to_uncond=True), prompt(family, 2)

    return _prompts(family, make, **options)


def _ranges():
    until = ConditioningSetTimestepRange().set_range(prompt("sd3", 1), 0.0, 0.5)[0]
    since = ConditioningSetTimestepRange().set_range(prompt("sd3", 3), 0.5, 1.0)[0]
    return ConditioningCombine().combine(until, since)[0], prompt("sd3", 2)


def _reference():
    latent = FAMILIES["flux"].latent(seed=4)["samples"]
    positive = node_helpers.conditioning_set_values(prompt("flux", 1), {"reference_latents": [latent]}, append=True)
    return positive, prompt("flux", 2)


# ---- latents and passes


def _masked(family: str) -> dict:
    mask = torch.zeros(1, 64, 96)
    mask[:, :, 48:] = 1.0
    return {**FAMILIES[family].latent(), "noise_mask": mask}


def _gradual(family: str) -> dict:
    return {**FAMILIES[family].latent(), "noise_mask": torch.linspace(0, 1, 96).expand(1, 64, 96).clone()}


def _odd(family: str) -> dict:
    return {"samples": torch.zeros(1, 16, 6, 14)}


def _hires():
    first = ksampler("sd3", steps=STEPS, cfg=3.0)

    def both(model):
        small = first(model)
        large = torch.nn.functional.interpolate(small, size=(12, 16))
        return ksampler("sd3", steps=STEPS, cfg=3.0, latent={"samples": large}, denoise=0.6, seed=2)(model)

    return both


def _three_samplers():
    each = [ksampler("sd3", steps=STEPS, cfg=3.0, sampler=name, seed=seed)
            for seed, name in enumerate(("euler", "dpmpp_2m", "heun"))]
    return lambda model: torch.cat([sample(model) for sample in each])


def _nested(family: str) -> Composition:
    """A latent of several streams; what comes out is packed as the host packs it, to be compared."""
    sample = ksampler(family, steps=STEPS, cfg=3.0)
    return Composition(family, sample=lambda: lambda model: comfy.utils.pack_latents(sample(model).unbind())[0])


def _windows(schedule: str):
    model, latent = windows(schedule)
    return Composition("wan21_t2v", lambda _: model, sample=lambda: ksampler(
        "wan21_t2v", steps=STEPS, cfg=3.0, latent=latent))


# ---- models


def _lora(model):
    return comfy.sd.load_lora_for_models(model, None, lora(), 1.0, 0.0)[0]


def _block_patch(model):
    model = model.clone()

    def half(args, extra):
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * 0.9}

    model.set_model_patch_replace(half, "dit", "double_block", 1)
    return model


def _attention_patch(model):
    model = model.clone()
    model.set_model_attn1_patch(lambda q, k, v, options: (q, k * 0.9, v))
    return model


def _tiled(model):
    """Two halves that are computed one after the other."""
    def halves(apply_model, args):
        parts = [apply_model(part, args["timestep"], **args["c"]) for part in args["input"].split(4, dim=-2)]
        return torch.cat(parts, dim=-2)

    model = model.clone()
    model.set_model_unet_function_wrapper(halves)
    return model


def _compiled(*keys: str):
    """What compiles these parts of a MODEL; without, the whole."""
    def compiled(model):
        torch._dynamo.reset()
        model = model.clone()
        set_torch_compile_wrapper(model, backend="aot_eager", keys=list(keys))
        return model

    return compiled


def _fp8(_):
    models("flux")
    return UNETLoader().load_unet("flux.safetensors", "fp8_e4m3fn")[0]


def _other_cache(name: str, first: bool = False):
    """As its node is set when it is new, after the Budget node or before it."""
    def stacked(model):
        return getattr(nodes_easycache, name).execute(model, 0.2, 0.15, 0.95, False).args[0]

    return Composition("sd3", stacked) if first else Composition("sd3", after=stacked)


def _two_budgets(model, config):
    return caching.attach(caching.attach(model, settings(0.6)), config)


def _dual_guider(model):
    return nodes_custom_sampler.DualCFGGuider.execute(
        model, prompt("sd3", 1), prompt("sd3", 3), prompt("sd3", 2), 3.0, 2.0, "regular").args[0]


def _rising(model):
    made = Rising(model)
    made.set_conds(*FAMILIES["sd3"].conditioning())
    return made


def _perp_neg(model):
    return nodes_perpneg.PerpNegGuider.execute(
        model, prompt("sd3", 1), prompt("sd3", 2), prompt("sd3", 3), 3.0, 1.0).args[0]


COMPOSITIONS: dict[str, Callable[[], Composition]] = {
    "a sampler alone (FLUX)": lambda: _options("flux"),
    "a sampler alone (SD1.5)": lambda: _options("sd15"),
    "ControlNet, FLUX": lambda: _controlled("flux", dict.fromkeys(("input", "output"), (1, 24, 128))),
    "ControlNet, SD3": lambda: _controlled("sd3", {"output": (1, 24, 128)}),
    "ControlNet, SDXL": lambda: _controlled("sdxl", {"middle": (1, 320, 1, 1)}, steps=SDXL_STEPS),
    "LoRA": lambda: Composition("flux", _lora),
    "LoRA as a hook": lambda: _prompts("flux", lambda: with_hooks(lora_hooks())),
    "LoRA hook with a schedule of strengths": lambda: _prompts(
        "flux", lambda: with_hooks(lora_hooks((0.2, 0.6, 1.0)))),
    "prompts for areas": lambda: _prompts("sd3", lambda: areas("sd3")),
    "prompts for masks": lambda: _prompts("sd3", lambda: masks("sd3")),
    "several prompts combined": lambda: _prompts("sd3", lambda: several("sd3")),
    "prompts for parts of the run": lambda: _prompts("sd3", _ranges),
    "inpainting": lambda: _options("sd3", latent=_masked("sd3")),
    "differential diffusion": lambda: Composition(
        "sd3", lambda model: nodes_differential_diffusion.DifferentialDiffusion.execute(model).args[0],
        options={"latent": _gradual("sd3")}),
    "image to image, denoise 0.6": lambda: _options("sd3", latent=FAMILIES["sd3"].latent(), denoise=0.6),
    "hires fix (a second, larger pass)": lambda: Composition("sd3", sample=_hires),
    "tiles (a model function wrapper)": lambda: Composition("sd3", _tiled),
    "context windows, static": lambda: _windows("standard_static"),
    "context windows, moving": lambda: _windows("standard_uniform"),
    "reference latents": lambda: _prompts("flux", _reference),
    "image to video": lambda: _options("wan21_i2v"),
    "nested latents (video with sound), LTX-2": lambda: _nested("ltxav"),
    "nested latents (video with sound), MiniMax H3": lambda: _nested("minimax_h3"),
    "VACE": lambda: _options("wan21_vace"),
    "PAG": lambda: replace(
        _node("sdxl", nodes_pag.PerturbedAttentionGuidance, 3.0), options={"steps": SDXL_STEPS}),
    "SLG": lambda: _node("sd3", nodes_slg.SkipLayerGuidanceDiT, 3.0, 0.0, 1.0, double_layers="0"),
    "SAG": lambda: _node("sd15", nodes_sag.SelfAttentionGuidance, 0.5, 2.0),
    "NAG": lambda: _node("sd3", _extra("nodes_nag", "NAGuidance"), 5.0, 0.5, 1.5),
    "APG": lambda: _node("sd3", nodes_apg.APG, 1.0, 5.0, 0.0),
    "CFG++": lambda: _options("sd3", sampler="euler_cfg_pp", cfg=1.0),
    "CFG-Zero*": lambda: _node("sd3", nodes_cfg.CFGZeroStar),
    "RescaleCFG": lambda: _node("sd15", nodes_model_advanced.RescaleCFG, 0.7),
    "perpendicular negative": lambda: _guider("sd3", _perp_neg),
    "two guidances (DualCFGGuider)": lambda: _guider("sd3", _dual_guider),
    "guidance that begins in mid-run": lambda: _guider("sd3", _rising),
    "shift node": lambda: _node("sd3", nodes_model_advanced.ModelSamplingSD3, 5.0),
    "FreeU": lambda: _node("sd15", nodes_freelunch.FreeU_V2, 1.3, 1.4, 0.9, 0.2),
    "attention patch": lambda: Composition("sd15", _attention_patch),
    "another node's replaced block": lambda: Composition("flux", _block_patch),
    "EasyCache after it": lambda: _other_cache("EasyCacheNode"),
    "EasyCache before it": lambda: _other_cache("EasyCacheNode", first=True),
    "LazyCache after it": lambda: _other_cache("LazyCacheNode"),
    "LazyCache before it": lambda: _other_cache("LazyCacheNode", first=True),
    "two ReCache nodes in a row": lambda: Composition("sd3", attach=_two_budgets),
    "one MODEL in three samplers": lambda: Composition("sd3", sample=_three_samplers),
    "batch of 3": lambda: _options("sd3", batch=3),
    "odd size": lambda: _options("flux", latent=_odd("flux")),
    "torch.compile, whole": lambda: Composition("sd3", _compiled()),
    "torch.compile, by block": lambda: Composition(
        "sd3", _compiled(*(f"diffusion_model.joint_blocks.{i}" for i in range(2)))),
    "fp8 weights": lambda: Composition("flux", _fp8),
    "GGUF-style weights (dequantised when used)": lambda: Composition("flux", lambda _: quantised("flux")),
    "low VRAM (weights moved when used)": lambda: Composition("flux", sample=lambda: low_vram(
        ksampler("flux", steps=STEPS, cfg=3.0))),
}
