"""An artist's sampling run, repeated for one sample at a time: uncached, recorded, or under a schedule."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import comfy.model_management
import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP

from .. import caching
from . import host_check
from .dry_run import dry_run
from .evaluations import SAME_SIGMA, Evaluations
from .latent_parts import LatentParts, each_part, parts_of
from .model_identity import cfg_of
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
    """The sampler node of a workflow, with its inputs; or the samplers of two models that share the noise levels.

    Args:
        guiders: the host's guiders, one for each prompt, all of one model.
        sampler: the host's sampler object.
        sigmas: [steps + 1] noise levels.
        latent: LATENT that the runs start from; empty or an image, any batch; nested for video with sound.
        seed: of the noise.
        fewer: number of steps -> noise levels of a run with so many.
        scheduler: its name.
        then: the guiders of a second model, which goes on with the latent from `boundary`.
        boundary: a noise level.

    Attributes:
        models: MODELs, one or two.
        stepped: called after every step of every run with the share of the run that is done; may be replaced.
        preview: called after every step with what is denoised so far, [1, ...]; may be replaced; None: not called.
        seconds: duration of the last run's sampler, without loading models and previews.
    """

    def __init__(self, guiders: Sequence, sampler, sigmas: torch.Tensor, latent: dict, seed: int,
                 fewer: Callable[[int], torch.Tensor], scheduler: str, then: Sequence = (), boundary: float = 0.0):
        if (obstacle := host_check.obstacle()) is not None:
            raise WorkflowError(str(obstacle), obstacle)
        if len(sigmas) < 3:
            raise WorkflowError("there is nothing to choose in a run of fewer than two steps; give the sampler more.")
        self.guiders, self.sampler, self.sigmas = list(guiders), sampler, sigmas
        self._stages, self.boundary = [self.guiders, *([list(then)] if then else [])], boundary
        self.seed, self._fewer, self.scheduler = seed, fewer, scheduler
        self.stepped: Callable[[float], None] = lambda share: None
        self.preview: Callable[[torch.Tensor], None] | None = None
        self.seconds = self._previewing = 0.0
        self._clones: dict[tuple[int, int, str], object] = {}
        self.models = [guiders[0].model_patcher for guiders in self._stages]
        self.model = self.models[0]
        self.mask = latent.get("noise_mask")
        self.latent = comfy.sample.fix_empty_latent_channels(self.model, latent["samples"])
        self._parts = LatentParts(tuple(tuple(part.shape[1:]) for part in parts_of(self.latent)))

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.sigmas) - 1

    @property
    def cfg(self) -> float:
        """The guider's classifier-free guidance; 1 where it has none, or one for every step."""
        cfg = cfg_of(self.guiders[0])
        return 1.0 if cfg is None else cfg

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
        evaluations = reduce(Evaluations.followed_by, (
            dry_run(self.sampler, sigmas, self._stages[stage][0], (1, *self.latent.shape[1:]), self.mask is not None)
            for stage, sigmas in self._by_model(self.sigmas)))
        if evaluations.refusal is not None:
            raise WorkflowError(str(evaluations.refusal), evaluations.refusal)
        return evaluations

    def reference(self, sample: Sample, record: Callable[[torch.Tensor, torch.Tensor, float], None]) -> torch.Tensor:
        """The uncached output, joined, [1, ...] float32 on the CPU; `record` gets every input, prediction and sigma."""
        def recorder(executor, x, timestep, *args, **kwargs):
            denoised = executor(x, timestep, *args, **kwargs)
            record(x, denoised, float(timestep.flatten()[0]))
            return denoised

        def recorded(guider):
            model = _without_cache(guider.model_patcher)
            model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, RECORDER, recorder)
            return model

        return self._sample(sample, self.sigmas, lambda stage: recorded(self._stages[stage][sample.guider]))

    def uncached(self, sample: Sample, share: float = 1.0) -> torch.Tensor:
        """The uncached output, [1, ...] float32 on the CPU, of a run of this share of the steps, at least one."""
        steps = max(1, round(share * self.steps))
        return self._sample(sample, self._fewer(steps), self._clone(sample, "uncached", _without_cache))

    def cached(self, sample: Sample, settings: caching.CacheConfig) -> torch.Tensor:
        """The output under ReCache `settings`."""
        if len(self._stages) > 1:
            settings = replace(settings, continues=True, for_run=_own_part)
        return self._sample(sample, self.sigmas, self._clone(
            sample, settings.identity, lambda model: caching.attach(model, settings)))

    def _by_model(self, sigmas: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
        """The noise levels of every sampler, with the number of its model; none has fewer than two."""
        if len(self._stages) == 1:
            return [(0, sigmas)]
        switch = int((sigmas[:-1] > self.boundary * (1 + SAME_SIGMA)).sum())
        parts = (0, sigmas[:switch + 1]), (1, sigmas[switch:])
        return [part for part in parts if len(part[1]) > 1]

    def _clone(self, sample: Sample, name: str, made: Callable) -> Callable[[int], object]:
        """(number of the model) -> its clone, one for all runs of a kind: the host loads every new clone again."""
        def clone(stage: int):
            key = (stage, sample.guider, name)
            if key not in self._clones:
                model = made(self._stages[stage][sample.guider].model_patcher)
                model.add_wrapper_with_key(WrappersMP.SAMPLER_SAMPLE, TIMER, self._timed)
                self._clones[key] = model
            return self._clones[key]

        return clone

    def _timed(self, executor, *args, **kwargs):
        self._previewing = 0.0
        start = time.perf_counter()
        samples = executor(*args, **kwargs)
        _wait_for(samples)
        self.seconds += time.perf_counter() - start - self._previewing
        return samples

    def _show(self, denoised: torch.Tensor) -> None:
        if self.preview is None:
            return
        _wait_for(denoised)  # is the sampler's time and not the preview's
        start = time.perf_counter()
        self.preview(denoised)
        self._previewing += time.perf_counter() - start

    def _sample(self, sample: Sample, sigmas: torch.Tensor, model_of: Callable[[int], object]) -> torch.Tensor:
        """One run, by all its samplers; `model_of`: (number of the model) -> the MODEL."""
        self.seconds, done = 0.0, 0

        def step(i: int, denoised: torch.Tensor, *_) -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            self._show(parts_of(denoised)[0])
            self.stepped((done + i + 1) / (len(sigmas) - 1))

        output, noise = sample.latent, sample.noise
        with torch.inference_mode():
            for stage, part in self._by_model(sigmas):
                guider, model = copy.copy(self._stages[stage][sample.guider]), model_of(stage)
                guider.model_patcher, guider.model_options = model, model.model_options
                output = guider.sample(noise, output, self.sampler, part, denoise_mask=sample.mask, callback=step,
                                       disable_pbar=True, seed=self.seed).to("cpu")
                noise, done = each_part(noise, torch.zeros_like), done + len(part) - 1
            return self.joined(output.to(torch.float32))


def _own_part(config: caching.CacheConfig, run: caching.RunSettings) -> caching.CacheConfig:
    """For CacheConfig.for_run: what the schedule of all samplers says of one of them."""
    done = len(run.before.times) if run.before else 0
    return replace(config, schedule=lambda times, cost: config.schedule(times, cost)[done:done + len(times)])


def _wait_for(tensor: torch.Tensor) -> None:
    """Until the device has made it."""
    tensor.flatten()[:1].cpu()


def _without_cache(model):
    """A clone of the MODEL whose runs compute everything."""
    if caching.config_of(model) is None:
        return model.clone()
    return caching.attach(model, caching.CacheConfig(computes_all=True))
