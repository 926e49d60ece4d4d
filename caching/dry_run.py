"""The evaluations of a sampling run, counted before it starts by a dry run of the sampler itself."""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from itertools import pairwise

import comfy.model_management
import torch
from torch.overrides import TorchFunctionMode

from .evaluations import Evaluations, evaluation_times
from .reasons import Reason
from .sampler_copy import copy_sampler
from .silence import without_warnings
from .stub_guider import NeedsModel, OtherInput, StubGuider, TooManyEvaluations, TooSlow

# No sampler of the host needs more than three evaluations a step; a run past this is adaptive or looping.
MAX_EVALUATIONS_PER_STEP = 16
MAX_SECONDS = 10  # of all runs together
LOOKS_BACK = 1e-4  # share of an input; rounding is below 1e-6


_NOISE = {torch.randn: torch.zeros, torch.rand: torch.zeros,
          torch.randn_like: torch.zeros_like, torch.rand_like: torch.zeros_like}


class _NoNoise(TorchFunctionMode):
    """Unseeded random calls on this thread return zeros; the RNG state is not changed."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in _NOISE and kwargs.get("generator") is None:
            func, kwargs = _NOISE[func], {key: value for key, value in kwargs.items() if key != "generator"}
        return func(*args, **kwargs)


def dry_run_without_rng(sampler, sigmas: torch.Tensor, model_sampling, seconds: float = MAX_SECONDS) -> Evaluations:
    """Like `dry_run`, but safe while another thread samples: the RNG state is neither changed nor saved.

    `stochastic` is always False, and samplers that seed the RNG are refused.

    Args:
        model_sampling: the host's noise schedule of the model.
        seconds: that it may take.
    """
    function = getattr(sampler, "sampler_function", sampler)
    if "manual_seed" in getattr(getattr(function, "__code__", None), "co_names", ()):
        return Evaluations(refusal=Reason("sampler_needs_run"))
    if getattr(sampler, "inpaint_options", None):  # with ddim's, the host seeds the RNG for the masked part
        sampler = copy.copy(sampler)
        sampler.inpaint_options = {}
    dry = _DryRun(sampler, sigmas, None, model_sampling, (1, 1, 2, 2), False, seconds)
    return dry.evaluations(_NoNoise(), reseed=False)


def dry_run(sampler, sigmas: torch.Tensor, guider, shape: Sequence[int], masked: bool = False) -> Evaluations:
    """List the evaluations that `sampler` will make over `sigmas`, for any sampler object of the host.

    Copies of the sampler run on a latent of a few numbers with a stub of the model: twice with different predictions
    (if the noise levels differ, they depend on the content, and can't be planned), and with another seed (if the inputs
    differ, the sampler adds noise). The RNG state is restored.

    Args:
        sampler: the host's sampler object (its `sample` method is used).
        sigmas: [steps + 1] noise levels.
        guider: the host's guider, whose plain values the sampler may read (see StubGuider).
        shape: of the latent.
        masked: whether the latent is inpainted.
    """
    patcher = guider.model_patcher
    device = patcher.load_device
    isolated = torch.random.fork_rng(devices=[device.index or 0] if device.type == "cuda" else [])
    small = (*shape[:2], *(min(size, 2) for size in shape[2:]))
    model_sampling = patcher.get_model_object("model_sampling")
    dry = _DryRun(sampler, sigmas, guider, model_sampling, small, masked, MAX_SECONDS)
    return dry.evaluations(isolated, reseed=True)


def _with_plain_noise(sampler, shape: tuple[int, ...], seed: int):
    """The sampler with normal noise of this shape where it would make Brownian noise.

    Drawing that takes seconds for hundreds of steps, and never ends for some noise levels (torchsde), such as those of
    2,000 steps of dpmpp_sde; and no evaluation depends on it.
    """
    options = getattr(sampler, "extra_options", {})
    try:
        takes = "noise_sampler" in inspect.signature(sampler.sampler_function).parameters
    except (AttributeError, TypeError, ValueError):  # another kind of sampler
        return sampler
    if not takes or options.get("noise_sampler") is not None:
        return sampler
    generator = torch.Generator().manual_seed(seed)
    sampler = copy.copy(sampler)
    sampler.extra_options = {**options, "noise_sampler": lambda *levels: torch.randn(shape, generator=generator)}
    return sampler


class _DryRun:
    """The dry runs of one sampler; see `dry_run` for the arguments."""

    def __init__(self, sampler, sigmas: torch.Tensor, guider, model_sampling, shape: Sequence[int], masked: bool,
                 seconds: float):
        self.sampler = sampler
        self.sigmas = sigmas
        self.guider = guider
        self.model_sampling = model_sampling
        self.shape = tuple(shape)
        self.masked = masked
        self.seconds = seconds
        self.deadline = time.thread_time() + seconds

    def evaluations(self, isolated: AbstractContextManager, reseed: bool) -> Evaluations:
        """The evaluations; with `reseed` also whether the sampler is stochastic."""
        try:
            with isolated, torch.inference_mode(), without_warnings():  # the run itself gives them, too
                first = self._run(lambda x: 0.5 * x, seed=1)
                stochastic = reseed and self._depends_on_seed(first)
                with _NoNoise():
                    content = self._run(lambda x: torch.sin(3.0 * x), seed=1)
                    multistep = self._looks_back(content) and not self._depends_on_seed(content)
                times = evaluation_times(first.sigmas, self.model_sampling)
                end = float(self.sigmas[-1]) if len(self.sigmas) else 0.0
        except comfy.model_management.InterruptProcessingException:
            raise
        except TooManyEvaluations:
            return Evaluations(refusal=Reason("sampler_adaptive"))
        except TooSlow:
            return Evaluations(refusal=Reason("sampler_slow", {"seconds": self.seconds}))
        except NeedsModel as error:
            return Evaluations(refusal=Reason("sampler_needs_model", {"name": str(error)}))
        except Exception as error:  # noqa: BLE001  any sampler of any pack may be here; none may break the artist's run
            return Evaluations(refusal=Reason("sampler_unplannable", {"error": str(error) or type(error).__name__}))
        if first.sigmas != content.sigmas:
            return Evaluations(refusal=Reason("sampler_adaptive"))
        return Evaluations(tuple(first.sigmas), times, stochastic, multistep, end=end)

    def _depends_on_seed(self, run: StubGuider) -> bool:
        try:
            self._run(run.response, seed=2, expected=run.inputs)
        except OtherInput:
            return True
        return False

    def _looks_back(self, run: StubGuider) -> bool:
        """Whether some input is no weighted sum of the input before and its prediction."""
        inputs = [x.flatten()[:: 2 if self.masked else 1].double() for x in run.inputs]  # without what the mask keeps
        for before, after in pairwise(inputs):
            if len(before) != len(after):
                return False
            known = torch.stack([before, run.response(before)], 1)
            rest = after - known @ torch.linalg.lstsq(known, after[:, None]).solution[:, 0]
            if rest.norm() > LOOKS_BACK * after.norm():
                return True
        return False

    def _run(self, response, seed: int, expected: Sequence[torch.Tensor] = ()) -> StubGuider:
        limit = MAX_EVALUATIONS_PER_STEP * max(1, len(self.sigmas) - 1)
        stub = StubGuider(self.guider, self.model_sampling, response, limit, self.deadline, expected)
        sigmas = self.sigmas.detach().to("cpu", torch.float32).clone()
        noise = torch.randn(self.shape, generator=torch.Generator().manual_seed(0))
        options = {"model_options": {"transformer_options": {"sample_sigmas": sigmas}}, "seed": seed}
        mask = None
        if self.masked:
            mask = torch.ones_like(noise)
            mask.view(-1)[1::2] = 0.0
        sampler = _with_plain_noise(copy_sampler(self.sampler, seed), self.shape, seed)
        sampler.sample(stub, sigmas, options, None, noise, torch.zeros_like(noise), mask, True)
        return stub
