"""The workflows of ComfyUI's sampler nodes, from their inputs."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import comfy.samplers
import torch

from .workflow import Workflow, WorkflowError


def _guiders(model, prompts: Sequence[tuple], cfg: float) -> list:
    """The host's guider for every pair of positive and negative CONDITIONING."""
    guiders = [comfy.samplers.CFGGuider(model) for _ in prompts]
    for guider, (positive, negative) in zip(guiders, prompts):
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
    return guiders


def ksampler(model, prompts: Sequence[tuple], steps: int, cfg: float, sampler_name: str, scheduler: str,
             denoise: float, latent: dict, seed: int, then=None, switch: int = 0) -> Workflow:
    """The workflow of a KSampler node; or of two KSamplerAdvanced, the second with the MODEL `then` from step `switch`.

    Args:
        prompts: pairs of positive and negative CONDITIONING.

    Raises:
        WorkflowError: one of the two would make no step.
    """
    def sigmas(count: int) -> torch.Tensor:
        return comfy.samplers.KSampler(
            model, steps=count, device=model.load_device, sampler=sampler_name, scheduler=scheduler, denoise=denoise,
            model_options=model.model_options).sigmas

    levels, sampler = sigmas(steps), comfy.samplers.sampler_object(sampler_name)
    if then is None:
        return Workflow(_guiders(model, prompts, cfg), sampler, levels, latent, seed, sigmas, scheduler)
    if not 0 < switch < len(levels) - 1:
        raise WorkflowError(f"the second model takes over at step {switch} of {len(levels) - 1}, so one of the two has "
                            f"nothing to do; choose a step between 1 and {len(levels) - 2}.")
    return Workflow(_guiders(model, prompts, cfg), sampler, levels, latent, seed, sigmas, scheduler,
                    _guiders(then, prompts, cfg), float(levels[switch]))


def custom(guiders: Sequence, sampler, sigmas: torch.Tensor, latent: dict, seed: int) -> Workflow:
    """The workflow of a SamplerCustomAdvanced node; fewer steps are an even selection of its noise levels."""
    def fewer(steps: int) -> torch.Tensor:
        return sigmas[torch.linspace(0, len(sigmas) - 1, steps + 1).round().long()]

    return Workflow(guiders, sampler, sigmas, latent, seed, fewer, "sigmas")


def with_prompt(guider, positive, negative):
    """A copy of the host's guider with another prompt, for the conds that it has."""
    copied = copy.copy(guider)
    conds = {"positive": positive, "negative": negative}
    copied.original_conds = dict(guider.original_conds)
    copied.inner_set_conds({name: cond for name, cond in conds.items() if name in guider.original_conds})
    return copied
