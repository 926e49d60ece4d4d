"""A stub of the guider for dry runs: a denoiser that computes a formula and records its inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from typing import Any

import comfy.latent_formats
import comfy.samplers
import comfy.supported_models_base
import torch


@cache
def _plain() -> tuple[type, ...]:
    """Types of values that a dry run may use."""
    return (bool, int, float, str, Enum, torch.dtype, torch.device, type(None), comfy.latent_formats.LatentFormat,
            comfy.supported_models_base.BASE)


class NeedsModel(Exception):
    """The sampler reads an attribute that only a real run has; its name is the argument."""


class TooManyEvaluations(Exception):
    """The sampler makes more evaluations than any that can be planned."""


class TooSlow(Exception):
    """The sampler takes too long without a network."""


class OtherInput(Exception):
    """An input differs from an earlier run's."""


class _PlainValues:
    """The plain attributes of an object of the host; any other raises NeedsModel."""

    def __init__(self, original: Any, **own: Any):
        self.__dict__.update(own, _original=original)

    def __getattr__(self, name: str) -> Any:
        value = None if self._original is None else getattr(self._original, name)
        if self._original is None or not isinstance(value, _plain()):
            raise AttributeError(name) if name.startswith("__") else NeedsModel(name)
        return value


class StubGuider(_PlainValues):
    """A guider with the noise schedule and the plain attributes of the real one, whose prediction is a formula.

    Args:
        guider: the real one; None if it is not known.
        response: the formula, x -> denoised.
        limit: maximum number of evaluations.
        deadline: in seconds of time.thread_time(): what other work takes does not count.
        expected: inputs of an earlier run, to compare with.

    Attributes:
        sigmas, inputs: of every evaluation.
    """

    def __init__(self, guider, model_sampling, response: Callable, limit: int, deadline: float,
                 expected: Sequence[torch.Tensor] = ()):
        patcher = getattr(guider, "model_patcher", None)
        model = _PlainValues(
            getattr(patcher, "model", None), model_sampling=model_sampling,
            scale_latent_inpaint=lambda latent_image, **_: latent_image)
        offered = _PlainValues(patcher, model=model, get_model_object=_objects(model_sampling))
        super().__init__(guider, inner_model=model, model_patcher=offered, cfg=getattr(guider, "cfg", 1.0))
        self.response = response
        self.limit = limit
        self.deadline = deadline
        self.expected = expected
        self.sigmas: list[float] = []
        self.inputs: list[torch.Tensor] = []

    def __call__(self, x, timestep, model_options=None, seed=None):
        if len(self.sigmas) >= self.limit:
            raise TooManyEvaluations
        if time.thread_time() > self.deadline:
            raise TooSlow
        if len(self.inputs) < len(self.expected) and not torch.equal(x, self.expected[len(self.inputs)]):
            raise OtherInput
        self.sigmas.append(float(timestep.flatten()[0]))
        self.inputs.append(x.clone())
        denoised = self.response(x)
        # cfg_pp samplers read the prediction through a post-CFG callback of their own
        return comfy.samplers.cfg_function(
            None, denoised, denoised, 1.0, x, timestep, model_options=model_options or {})


def _objects(model_sampling) -> Callable[[str], Any]:
    def get_model_object(name: str) -> Any:
        if name != "model_sampling":
            raise NeedsModel(name)
        return model_sampling

    return get_model_object
