"""An artist's sampling run, repeated for one sample at a time: uncached, recorded, or under a schedule."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP

from .. import caching
from . import host_check
from .dry_run import Evaluations, dry_run
from .latent_parts import LatentParts, each_part, parts_of
from .reasons import Reason

RECORDER, TIMER = "recache.recorder", "recache.timer"


class WorkflowError(ValueError):
    """This workflow can't be trained on, or measured.

    Args:
        message: one sentence for the artist, where there are no reasons.
        reasons: the engine's, which nodes word.
    """

    def __init__(self, message: str, *reasons: Reason):
        super().__init__(message)
        self.reasons = reasons


@dataclass(frozen=True)
class Sample:
    """The input of one run.

    Attributes:
        guider: index of the prompt's guider.
        noise, latent: [1, ...], as the sampler node would make them, nested ones of [1, ...] too.
        mask: of inpainting, or None.
    """

    guider: int
    noise: torch.Tensor
    latent: torch.Tensor
    mask: torch.Tensor | None


class Workflow:
    """The sampler node of a workflow, with its inputs.

    Args:
        guiders: the host's guiders, one for each prompt, all of one model.
        sampler: the host's sampler object.
        sigmas: [steps + 1] noise levels.
        latent: LATENT that the runs start from; empty or an image, any batch; nested for video with sound.
        seed: of the noise.
        fewer: number of steps -> noise levels of a run with so many.
        scheduler: its name.

    Attributes:
        stepped: called after every step of every run with the share of the run that is done; may be replaced.
        preview: called after every step with what is denoised so far, [1, ...]; may be replaced; None: not called.
        seconds: duration of the last run's sampler, without loading models and previews.
    """

    def __init__(self, guiders: Sequence, sampler, sigmas: torch.Tensor, latent: dict, seed: int,
                 fewer: Callable[[int], torch.Tensor], scheduler: str):
        obstacle = host_check.obstacle()
        if obstacle is not None:
            raise WorkflowError(str(obstacle), obstacle)
        if len(sigmas) < 3:
            raise WorkflowError("there is nothing to choose in a run of fewer than two steps; give the sampler more.")
        self.guiders, self.sampler, self.sigmas = list(guiders), sampler, sigmas
        self.seed, self._fewer, self.scheduler = seed, fewer, scheduler
        self.stepped: Callable[[float], None] = lambda share: None
        self.preview: Callable[[torch.Tensor], None] | None = None
        self.seconds = self._previewing = 0.0
        self._models: dict[tuple[int, str], object] = {}
        self.model = self.guiders[0].model_patcher
        self.mask = latent.get("noise_mask")
        self.latent = comfy.sample.fix_empty_latent_channels(self.model, latent["samples"])
        self._parts = LatentParts(tuple(tuple(part.shape[1:]) for part in parts_of(self.latent)))

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.sigmas) - 1

    @property
    def cfg(self) -> float:
        """The guider's classifier-free guidance; 1 where it has none."""
        return float(getattr(self.guiders[0], "cfg", 1.0))

    def samples(self, count: int, seed: int) -> list[Sample]:
        """`count` samples of every prompt, prompt by prompt: a batch of noise from `seed`, an element each."""
        def repeated(part: torch.Tensor) -> torch.Tensor:
            return comfy.utils.repeat_to_batch_size(part, count)

        latent, mask = each_part(self.latent, repeated), self.mask
        noise = comfy.sample.prepare_noise(latent, seed)
        if mask is not None:
            mask = each_part(mask, lambda part: repeated(part if part.ndim > 2 else part[None]))
        return [
            Sample(g, noise[i:i + 1], latent[i:i + 1], None if mask is None else mask[i:i + 1])
            for g in range(len(self.guiders)) for i in range(count)]

    @property
    def has_parts(self) -> bool:
        """Whether latents are nested, such as those of video with sound."""
        return self.latent.is_nested

    def joined(self, latent) -> torch.Tensor:
        """A latent as the runs' outputs are: the parts of a nested one as one tensor (see LatentParts)."""
        return self._parts.join(latent)

    def pictures(self, output: torch.Tensor) -> torch.Tensor:
        """The part of a run's output that a VAE decodes to pictures."""
        return self._parts.first(output)

    def in_turn(self, count: int, noises: int) -> list[int]:
        """Places in `samples(noises, ...)` of `count` samples in all, of the prompts in turn."""
        places = range(noises * len(self.guiders))
        return [place for i in range(noises) for place in places[i::noises]][:count]

    def dry_run(self) -> Evaluations:
        """The evaluations of a run.

        Raises:
            WorkflowError: they can't be known in advance.
        """
        evaluations = dry_run(self.sampler, self.sigmas, self.guiders[0], (1, *self.latent.shape[1:]),
                              self.mask is not None)
        if evaluations.refusal is not None:
            raise WorkflowError(str(evaluations.refusal), evaluations.refusal)
        return evaluations

    def reference(self, sample: Sample, record: Callable[[torch.Tensor, torch.Tensor, float], None]) -> torch.Tensor:
        """The uncached output, joined, [1, ...] float32 on the CPU; `record` gets every input, prediction and sigma."""
        def recorder(executor, x, timestep, *args, **kwargs):
            denoised = executor(x, timestep, *args, **kwargs)
            record(x, denoised, float(timestep.flatten()[0]))
            return denoised

        model = _without_cache(self.guiders[sample.guider].model_patcher)
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, RECORDER, recorder)
        return self._sample(sample, model, self.sigmas)

    def uncached(self, sample: Sample, share: float = 1.0) -> torch.Tensor:
        """The uncached output, [1, ...] float32 on the CPU, of a run of this share of the steps, at least one."""
        steps = max(1, round(share * self.steps))
        return self._sample(sample, self._model(sample, "uncached", _without_cache), self._fewer(steps))

    def cached(self, sample: Sample, settings: caching.CacheConfig) -> torch.Tensor:
        """The output under ReCache `settings`."""
        model = self._model(sample, settings.identity, lambda model: caching.attach(model, settings))
        return self._sample(sample, model, self.sigmas)

    def _model(self, sample: Sample, name: str, made: Callable):
        """One clone for all runs of a kind, because the host loads every new clone again."""
        key = (sample.guider, name)
        if key not in self._models:
            model = made(self.guiders[sample.guider].model_patcher)
            model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, TIMER, self._timed)
            self._models[key] = model
        return self._models[key]

    def _timed(self, executor, *args, **kwargs):
        self._previewing = 0.0
        start = time.perf_counter()
        samples = executor(*args, **kwargs)
        _wait_for(samples)
        self.seconds = time.perf_counter() - start - self._previewing
        return samples

    def _show(self, denoised: torch.Tensor) -> None:
        if self.preview is None:
            return
        _wait_for(denoised)  # is the sampler's time and not the preview's
        start = time.perf_counter()
        self.preview(denoised)
        self._previewing += time.perf_counter() - start

    def _sample(self, sample: Sample, model, sigmas: torch.Tensor) -> torch.Tensor:
        def step(i: int, denoised: torch.Tensor, *_) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            self._show(parts_of(denoised)[0])
            self.stepped((i + 1) / (len(sigmas) - 1))

        guider = copy.copy(self.guiders[sample.guider])
        guider.model_patcher, guider.model_options = model, model.model_options
        with torch.inference_mode():
            output = guider.sample(
                sample.noise, sample.latent, self.sampler, sigmas, denoise_mask=sample.mask, callback=step,
                disable_pbar=True, seed=self.seed)
            return self.joined(output.to("cpu", torch.float32))


def _wait_for(tensor: torch.Tensor) -> None:
    """Until the device has made it."""
    tensor.flatten()[:1].cpu()


def _without_cache(model):
    """A clone of the MODEL whose runs compute everything."""
    if caching.config_of(model) is None:
        return model.clone()
    return caching.attach(model, caching.CacheConfig(computes_all=True))


def ksampler(model, prompts: Sequence[tuple], steps: int, cfg: float, sampler_name: str, scheduler: str,
             denoise: float, latent: dict, seed: int) -> Workflow:
    """The workflow of a KSampler node; `prompts` are pairs of positive and negative CONDITIONING."""
    guiders = []
    for positive, negative in prompts:
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)
        guiders.append(guider)
    def sigmas(count: int) -> torch.Tensor:
        return comfy.samplers.KSampler(
            model, steps=count, device=model.load_device, sampler=sampler_name, scheduler=scheduler, denoise=denoise,
            model_options=model.model_options).sigmas

    return Workflow(guiders, comfy.samplers.sampler_object(sampler_name), sigmas(steps), latent, seed, sigmas,
                    scheduler)


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
