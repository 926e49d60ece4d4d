"""The three ways in which workflows sample: a node's inputs for each, and the Workflow that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.samplers
from comfy_api.latest import io

from ...caching import sampler_nodes
from ...caching.workflow import Workflow


@dataclass(frozen=True)
class Sampling:
    """One of the ways.

    Attributes:
        inputs: the inputs of a node.
        workflow: the Workflow from more prompts (pairs of positive and negative CONDITIONING) and the inputs' values.
        connect: a sentence for artists on what to connect.
    """

    inputs: Callable[[], list[io.Input]]
    workflow: Callable[..., Workflow]
    connect: str


def _latent() -> io.Input:
    return io.Latent.Input(
        "latent_image", tooltip="What goes into your sampler's latent_image: an empty latent, or an encoded image.")


def _seed(tooltip: str) -> io.Input:
    return io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF, control_after_generate=False, tooltip=tooltip)


def _ksampler_inputs() -> list[io.Input]:
    return [
        io.Model.Input("model", tooltip="The model as your KSampler gets it, without ReCache."),
        *_sampled(),
        io.Float.Input("denoise", default=1.0, min=0.0, max=1.0, step=0.01, tooltip="As on your KSampler."),
    ]


def _sampled(*after_steps: io.Input) -> list[io.Input]:
    """What the host's KSampler nodes have in common."""
    same = "As on your KSampler."
    return [
        io.Conditioning.Input("positive", tooltip="What goes into your KSampler's positive."),
        io.Conditioning.Input("negative", tooltip="What goes into your KSampler's negative."),
        _latent(),
        _seed("As on your KSampler; the noises that are tried are the batch that starts from it."),
        io.Int.Input("steps", default=20, min=2, max=10000, tooltip=same),
        *after_steps,
        io.Float.Input("cfg", default=8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip=same),
        io.Combo.Input("sampler_name", options=list(comfy.samplers.KSampler.SAMPLERS), tooltip=same),
        io.Combo.Input("scheduler", options=list(comfy.samplers.KSampler.SCHEDULERS), tooltip=same),
    ]


def _ksampler(prompts: Sequence[tuple] = (), *, model, positive, negative, latent_image: dict, seed: int, steps: int,
              cfg: float, sampler_name: str, scheduler: str, denoise: float) -> Workflow:
    return sampler_nodes.ksampler(
        model, [(positive, negative), *prompts], steps, cfg, sampler_name, scheduler, denoise, latent_image, seed)


def _two_models_inputs() -> list[io.Input]:
    return [
        io.Model.Input("high_noise", tooltip="The model of your first sampler, without ReCache."),
        io.Model.Input("low_noise", tooltip="The model of your second sampler, without ReCache."),
        *_sampled(io.Int.Input(
            "switch_step", default=10, min=1, max=10000,
            tooltip="Where the second model takes over: the end_at_step of your first sampler and the start_at_step "
                    "of your second.")),
    ]


def _two_models(prompts: Sequence[tuple] = (), *, high_noise, low_noise, positive, negative, latent_image: dict,
                seed: int, steps: int, switch_step: int, cfg: float, sampler_name: str, scheduler: str) -> Workflow:
    return sampler_nodes.ksampler(
        high_noise, [(positive, negative), *prompts], steps, cfg, sampler_name, scheduler, 1.0, latent_image, seed,
        low_noise, switch_step)


def _custom_inputs() -> list[io.Input]:
    return [
        io.Guider.Input("guider", tooltip="The guider as your sampler gets it, without ReCache."),
        io.Sampler.Input("sampler", tooltip="What goes into your SamplerCustomAdvanced's sampler."),
        io.Sigmas.Input("sigmas", tooltip="What goes into your SamplerCustomAdvanced's sigmas."),
        _latent(),
        _seed("As on your RandomNoise; the noises that are tried are the batch that starts from it."),
    ]


def _custom(prompts: Sequence[tuple] = (), *, guider, sampler, sigmas, latent_image: dict, seed: int) -> Workflow:
    guiders = [guider, *(sampler_nodes.with_prompt(guider, *prompt) for prompt in prompts)]
    return sampler_nodes.custom(guiders, sampler, sigmas, latent_image, seed)


KSAMPLER = Sampling(_ksampler_inputs, _ksampler, "Connect what goes into your KSampler.")
TWO_MODELS = Sampling(
    _two_models_inputs, _two_models,
    "For ReCache (Two Models), where two models share the steps, such as Wan 2.2 14B: connect both models, and what "
    "goes into your two samplers.")
CUSTOM = Sampling(
    _custom_inputs, _custom,
    "For workflows with SamplerCustomAdvanced: connect its guider, sampler, sigmas and latent.")
