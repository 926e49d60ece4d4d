"""Conds, guiders and hooks that an artist combines, for tiny models: areas, masks, LoRA hooks, ControlNet, windows."""

from __future__ import annotations

import comfy.hooks
import comfy.samplers
import torch
from comfy.controlnet import ControlBase
from comfy_extras import nodes_context_windows, nodes_hooks
from nodes import ConditioningCombine, ConditioningSetArea, ConditioningSetMask

from tests.sampling import models, prompt
from tests.tiny.families import FAMILIES


def areas(name):
    """A prompt everywhere and two equal areas of one other, whose opposites share one uncond."""
    left = ConditioningSetArea().append(prompt(name, 3), 48, 64, 0, 0, 0.7)[0]
    right = ConditioningSetArea().append(prompt(name, 4), 48, 64, 48, 0, 1.0)[0]
    both = ConditioningCombine().combine(left, right)[0]
    return ConditioningCombine().combine(prompt(name, 1), both)[0], prompt(name, 2)


def masks(name):
    mask = torch.zeros(1, 8, 12)
    mask[:, :, 6:] = 1.0
    right = ConditioningSetMask().append(prompt(name, 3), mask, "default", 0.8)[0]
    bounds = ConditioningSetMask().append(prompt(name, 4), 1.0 - mask, "mask bounds", 1.0)[0]
    return ConditioningCombine().combine(right, bounds)[0], prompt(name, 2)


def several(name):
    combined = prompt(name, 1)
    for seed in (2, 3):
        combined = ConditioningCombine().combine(combined, prompt(name, seed))[0]
    return combined, ConditioningCombine().combine(prompt(name, 5), prompt(name, 6))[0]


class Flipping(comfy.samplers.CFGGuider):
    """Asks for cond and uncond in the other order every second time."""

    asked = 0

    def predict_noise(self, x, timestep, model_options, seed=None):
        conds = [self.conds["positive"], self.conds["negative"]]
        flipped = self.asked % 2
        self.asked += 1
        outs = comfy.samplers.calc_cond_batch(
            self.inner_model, conds[::-1] if flipped else conds, x, timestep, model_options)
        positive, negative = outs[::-1] if flipped else outs
        return comfy.samplers.cfg_function(
            self.inner_model, positive, negative, self.cfg, x, timestep, model_options=model_options)


class Rising(comfy.samplers.CFGGuider):
    """Guides from its fourth evaluation on."""

    asked = 0

    def predict_noise(self, *args, **kwargs):
        self.set_cfg(4.0 if self.asked >= 3 else 1.0)
        self.asked += 1
        return super().predict_noise(*args, **kwargs)


def lora() -> dict[str, torch.Tensor]:
    """A LoRA on one layer of tiny FLUX."""
    generator = torch.Generator().manual_seed(0)
    layer = "diffusion_model.double_blocks.0.img_mlp.0"
    return {f"{layer}.lora_up.weight": torch.randn(512, 4, generator=generator),
            f"{layer}.lora_down.weight": torch.randn(4, 128, generator=generator) * 0.2,
            f"{layer}.alpha": torch.tensor(4.0)}


def lora_hooks(strengths=None):
    """`lora` as the host's hooks, with a schedule of strengths if given."""
    hooks = comfy.hooks.create_hook_lora(lora=lora(), strength_model=1.0, strength_clip=0.0)
    if strengths:
        keyframes = None
        for i, strength in enumerate(strengths):
            [keyframes] = nodes_hooks.CreateHookKeyframe().create_hook_keyframe(
                strength, i / len(strengths), keyframes)
        [hooks] = nodes_hooks.SetHookKeyframes().set_hook_keyframes(hooks, keyframes)
    return hooks


def with_hooks(hooks):
    [positive] = comfy.hooks.set_conds_props(conds=[prompt("flux", 1)], strength=1.0, set_cond_area="default",
                                             hooks=hooks)
    return positive, prompt("flux", 2)


class Control(ControlBase):
    """A ControlNet that answers with constant residuals, at a cost that is counted.

    Args:
        residuals: lists of [1, ...] by the place where the host adds them; by default those of tiny FLUX.
    """

    def __init__(self, residuals: dict | None = None):
        super().__init__()
        self.asked = 0
        tokens = torch.full((1, 24, 128), 0.3)
        self.residuals = {"input": [tokens, tokens], "output": [tokens]} if residuals is None else residuals

    def get_control(self, x_noisy, t, cond, batched_number, *transformer_options):
        self.asked += 1
        if self.timestep_range is not None and t[0] < self.timestep_range[1]:
            return None
        batch = x_noisy.shape[0]
        return {key: [each.expand(batch, *each.shape[1:]) for each in residuals]
                for key, residuals in self.residuals.items()}

    def get_models(self):
        return []


def windows(schedule: str):
    family = FAMILIES["wan21_t2v"]
    model = nodes_context_windows.ContextWindowsManualNode.execute(
        models(family.name)[0], context_length=3, context_overlap=1, context_schedule=schedule, context_stride=1,
        closed_loop=False, fuse_method="flat", dim=2, freenoise=False).args[0]
    channels, _, height, width = family.latent_shape
    return model, {"samples": torch.zeros(1, channels, 9, height, width)}
