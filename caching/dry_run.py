"""The evaluations of a sampling run, counted before it starts by a dry run of the sampler itself."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import SimpleNamespace

import comfy.samplers
import torch
from torch.overrides import TorchFunctionMode

from .reasons import Reason

# No sampler of the host needs more than three evaluations a step; a run past this is adaptive or looping.
MAX_EVALUATIONS_PER_STEP = 16
SAME_SIGMA = 1e-3


@dataclass(frozen=True)
class Evaluations:
    """The calls of the denoiser that a sampler will make.

    Attributes:
        sigmas: noise level of every evaluation, in order; empty if the run can't be planned.
        times: evaluation times in [0, 1], 1 at the noisiest: the model's timestep over that of its highest noise level.
        stochastic: the sampler adds fresh noise between evaluations.
        refusal: why the run can't be planned, or None if it can.
    """

    sigmas: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    stochastic: bool = False
    refusal: Reason | None = None

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def positions(self) -> tuple[int, ...]:
        """Where forecasts place each evaluation: the rank of its time, so equal times have equal positions.

        For samplers with one evaluation a step this is the step's number. Measured against the times themselves, ranks
        forecast better where the times are unevenly spaced (shifted schedules), because the gap that is forecast
        over is then not much wider than the gap that the slope comes from.
        """
        rounded = [round(time, 6) for time in self.times]
        ranks = {time: rank for rank, time in enumerate(sorted(set(rounded), reverse=True))}
        return tuple(ranks[time] for time in rounded)

    @property
    def levels(self) -> tuple[float, ...]:
        """The noise level at every position, and 0 after the last."""
        levels = dict(zip(self.positions, self.sigmas))
        return *(levels[position] for position in sorted(levels)), 0.0

    def expects(self, index: int, sigma: float) -> bool:
        """Whether evaluation `index` is at this noise level."""
        return index < len(self) and math.isclose(self.sigmas[index], sigma, rel_tol=SAME_SIGMA, abs_tol=1e-6)


class _TooMany(Exception):
    pass


class _StubModel:
    """In the guider's place: a denoiser that costs nothing and records its inputs.

    It offers the noise schedule and nothing else of the model, so that a sampler that works on the network itself
    fails here and its run is left uncached.
    """

    def __init__(self, model_sampling, response, limit: int):
        self.inner_model = SimpleNamespace(
            model_sampling=model_sampling, scale_latent_inpaint=lambda latent_image, **_: latent_image)
        self.model_patcher = SimpleNamespace(
            get_model_object={"model_sampling": model_sampling}.__getitem__, model=self.inner_model)
        self.cfg = 1.0
        self.response = response
        self.limit = limit
        self.sigmas: list[float] = []
        self.inputs: list[torch.Tensor] = []

    def __call__(self, x, sigma, model_options, seed=None):
        if len(self.sigmas) >= self.limit:
            raise _TooMany
        self.sigmas.append(float(sigma.flatten()[0]))
        self.inputs.append(x.clone())
        denoised = self.response(x)
        # cfg_pp samplers read the prediction through a post-CFG callback of their own
        return comfy.samplers.cfg_function(None, denoised, denoised, 1.0, x, sigma, model_options=model_options)


def _trace(sampler, sigmas: torch.Tensor, model_sampling, dims: int, response, seed: int) -> _StubModel:
    limit = MAX_EVALUATIONS_PER_STEP * max(1, len(sigmas) - 1)
    stub = _StubModel(model_sampling, response, limit)
    noise = torch.randn((1, 1) + (2,) * (dims - 2), generator=torch.Generator().manual_seed(0))
    extra_args = {"model_options": {"transformer_options": {"sample_sigmas": sigmas}}, "seed": seed}
    sampler.sample(stub, sigmas, extra_args, None, noise, torch.zeros_like(noise), None, True)
    return stub


def evaluation_times(sigmas, model_sampling) -> tuple[float, ...]:
    """Noise levels as evaluation times in [0, 1] (see `Evaluations.times`)."""
    highest = float(model_sampling.sigma_max)
    top = float(model_sampling.timestep(torch.tensor(highest)))

    def time(sigma: float) -> float:
        step = float(model_sampling.timestep(torch.tensor(max(sigma, 1e-6))))
        # a timestep that is not a positive multiple of the noisiest one's (log scales) orders nothing: use sigma
        return step / top if top > 0 and math.isfinite(step) and step >= 0 else sigma / highest

    return tuple(time(sigma) for sigma in sigmas)


_NOISE = {torch.randn: torch.zeros, torch.rand: torch.zeros,
          torch.randn_like: torch.zeros_like, torch.rand_like: torch.zeros_like}


class _NoNoise(TorchFunctionMode):
    """Unseeded random calls on this thread return zeros; the RNG state is not changed."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _NOISE and kwargs.get("generator") is None:
            func, kwargs = _NOISE[func], {key: value for key, value in kwargs.items() if key != "generator"}
        return func(*args, **kwargs)


def dry_run_without_rng(sampler, sigmas: torch.Tensor, model_sampling) -> Evaluations:
    """Like `dry_run`, while another thread may be sampling: the RNG state is neither changed nor saved.

    It does not tell whether the sampler is stochastic (always False), and refuses samplers that seed the RNG.
    """
    function = getattr(sampler, "sampler_function", sampler)
    if "manual_seed" in getattr(getattr(function, "__code__", None), "co_names", ()):
        return Evaluations(refusal=Reason("sampler_needs_run"))
    if getattr(sampler, "inpaint_options", None):  # ddim's make the host seed the RNG, for what is masked
        sampler = copy.copy(sampler)
        sampler.inpaint_options = {}
    return _evaluations(sampler, sigmas, model_sampling, 4, _NoNoise, (1,))


def dry_run(sampler, sigmas: torch.Tensor, model_sampling, dims: int, devices: list[int]) -> Evaluations:
    """List the evaluations that `sampler` will make over `sigmas`, for any sampler object of the host.

    The sampler runs three times on a tensor of a few numbers with a model that costs nothing: twice with different
    predictions (evaluations that then differ depend on content, and can't be planned), and once with another seed
    (inputs that then differ contain fresh noise). The RNG state is restored.

    Args:
        sampler: the host's sampler object (its `sample` method is used).
        sigmas: [steps + 1] noise levels.
        model_sampling: the host's noise schedule of the model.
        dims: number of dimensions of the latent.
        devices: indices of the CUDA devices in use, whose RNG states are restored too.
    """
    return _evaluations(
        sampler, sigmas, model_sampling, dims, lambda: torch.random.fork_rng(devices=devices), seeds=(1, 2))


def _evaluations(sampler, sigmas, model_sampling, dims: int, isolated: Callable[[], AbstractContextManager],
                 seeds: tuple[int, ...]) -> Evaluations:
    sigmas = sigmas.detach().to("cpu", torch.float32).clone()

    def trace(response, seed):
        return _trace(sampler, sigmas.clone(), model_sampling, dims, response, seed)

    try:
        with isolated(), torch.inference_mode():
            first, *reseeded = (trace(lambda x: 0.5 * x, seed) for seed in seeds)
            content = trace(lambda x: torch.sin(3.0 * x), seeds[0])
    except _TooMany:
        return Evaluations(refusal=Reason("sampler_adaptive"))
    except Exception as error:  # noqa: BLE001  any sampler of any pack may be here; none may break the artist's run
        return Evaluations(refusal=Reason("sampler_unplannable", {"error": str(error)}))
    if first.sigmas != content.sigmas:
        return Evaluations(refusal=Reason("sampler_adaptive"))
    stochastic = any(not torch.equal(a, b) for other in reseeded for a, b in zip(first.inputs, other.inputs))
    return Evaluations(tuple(first.sigmas), evaluation_times(first.sigmas, model_sampling), stochastic)
