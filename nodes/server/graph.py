"""The sampling that a Budget node is connected to, as the page describes it: sampler, noise levels and model.

The page sends a tree of nodes, ``{"type": node type, "inputs": {name: plain value or another node}}``, from the sampler
node back to the loader. Of its nodes only ComfyUI's own are run, and of these only what makes a SAMPLER, SIGMAS or the
noise schedule of a MODEL: none of them loads or computes anything. Other nodes pass their MODEL on.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import comfy.model_sampling
import comfy.samplers
import nodes
import torch

from . import model_header, values

MAX_STEPS = 2000  # more take too long for a dry run while the artist waits


class Unknown(ValueError):
    """The workflow does not tell a part of the sampling."""


class _AnyFlow(comfy.model_sampling.ModelSamplingDiscreteFlow, comfy.model_sampling.CONST):
    """The noise schedule of a model that is not known yet."""


def model_stub(model_sampling=None):
    """A stub of a MODEL that has nothing but a noise schedule; by default one of a flow model."""
    schedule = model_sampling or _AnyFlow()
    stub = SimpleNamespace(get_model_object={"model_sampling": schedule}.__getitem__, load_device=torch.device("cpu"))
    stub.model = None
    return stub


@dataclass(frozen=True)
class Sampling:
    """What a sampler node will do.

    Attributes:
        sampler: the host's sampler object.
        sigmas: [steps + 1] noise levels.
        model: the MODEL, without weights.
        known: False if the model is a stub.
        cfg, size: see caching.RunSettings.
        guessed: whether an unknown input on which the number of steps does not depend has its default value.
    """

    sampler: Any
    sigmas: torch.Tensor
    model: Any
    known: bool
    cfg: float | None
    size: tuple[int, ...]
    guessed: bool


def sampling(tree: dict, remembered=None) -> Sampling:
    """The sampling of a sampler node.

    Args:
        remembered: used as the MODEL if the tree does not tell it.

    Raises:
        Unknown: the tree does not tell the sampler or the noise levels.
    """
    inputs = tree["inputs"]
    model = _model(_first(inputs, "model", "guider"))
    known = model is not None
    model = model or remembered or model_stub()
    guessed: set[str] = set()
    if "sigmas" in inputs:
        sampler = _run(inputs.get("sampler"), "SAMPLER", model, guessed)
        sigmas = _run(inputs["sigmas"], "SIGMAS", model, guessed)
    else:
        sampler, sigmas = _ksampler(inputs, model)
    if not torch.is_tensor(sigmas) or sigmas.ndim != 1 or not hasattr(sampler, "sample"):
        raise Unknown
    if len(sigmas) > MAX_STEPS + 1:
        raise Unknown
    return Sampling(sampler, sigmas, model, known, _cfg(inputs), _size(inputs), bool(guessed))


def _cfg(inputs: dict) -> float | None:
    """The scale of the guidance, 1 for a guider without one, as in the host; None if it is not known."""
    guider = _first(inputs, "guider")
    cfg = values.evaluate(inputs.get("cfg") if guider is None else guider["inputs"].get("cfg", 1.0))
    return float(cfg) if _is_number(cfg) else None


def _size(inputs: dict) -> tuple[int, ...]:
    """Width, height and frames, if they are inputs of the latent's node; else empty."""
    latent = _first(inputs, "latent_image", "latent")
    given = [] if latent is None else [values.evaluate(latent["inputs"].get(n)) for n in ("width", "height", "length")]
    return tuple(int(side) for side in given if side is not None) if all(map(_is_number, given[:2])) else ()


def _ksampler(inputs: dict, model) -> tuple[Any, torch.Tensor]:
    inputs = {name: values.evaluate(value) for name, value in inputs.items()}
    steps, denoise = inputs.get("steps"), inputs.get("denoise", 1.0)
    name, scheduler = inputs.get("sampler_name"), inputs.get("scheduler")
    if name not in comfy.samplers.KSampler.SAMPLERS or scheduler not in comfy.samplers.KSampler.SCHEDULERS:
        raise Unknown
    _check_steps(steps, denoise)
    sigmas = comfy.samplers.KSampler(model, int(steps), "cpu", name, scheduler, denoise).sigmas
    end = inputs.get("end_at_step")
    if _is_number(end) and end < len(sigmas) - 1:
        sigmas = sigmas[:max(0, int(end)) + 1].clone()
        if inputs.get("return_with_leftover_noise") == "disable":
            sigmas[-1] = 0.0
    start = inputs.get("start_at_step")
    if _is_number(start):
        sigmas = sigmas[max(0, int(start)):]
    return comfy.samplers.sampler_object(name), sigmas


def _model(tree: Any):
    """The MODEL at the end of a chain of nodes; None if it is not known."""
    if not isinstance(tree, dict):
        return None
    inputs = tree["inputs"]
    before = _first(inputs, "model", "guider", "model1", "low_noise" if tree.get("output") else "high_noise")
    if not isinstance(before, dict):
        return model_header.model(inputs)
    model = _model(before)
    if model is None or not tree["type"].startswith("ModelSampling"):
        return model
    try:
        return _run(tree, "MODEL", model, set())
    except Unknown:
        return None


def _run(tree: Any, kind: str, model, guessed: set[str]) -> Any:
    """The output of one of ComfyUI's own nodes that makes a `kind` from plain values and other such nodes.

    `guessed` gets the names of inputs that have their default value because theirs is not known.
    """
    if not isinstance(tree, dict):
        raise Unknown
    node = nodes.NODE_CLASS_MAPPINGS.get(tree["type"])
    module = getattr(node, "RELATIVE_PYTHON_MODULE", "") or ""
    if node is None or not module.startswith("comfy_extras.") or kind not in node.RETURN_TYPES:
        raise Unknown
    expected = node.INPUT_TYPES()
    options = {**expected.get("required", {}), **expected.get("optional", {})}
    arguments = {}
    for name, value in tree["inputs"].items():
        if name not in options:
            continue
        wanted = options[name][0]
        if wanted == "MODEL":
            arguments[name] = _model(value) or model
        elif wanted in ("SAMPLER", "SIGMAS"):
            arguments[name] = _run(value, wanted, model, guessed)
        else:
            plain = values.evaluate(value)
            if plain is None and (name in ("width", "height") or (wanted == "FLOAT" and name != "denoise")):
                plain = options[name][1].get("default")
                guessed.add(name)
            if not _allowed(plain, *options[name]):
                raise Unknown
            arguments[name] = plain
    given = max((len(value) for value in arguments.values() if torch.is_tensor(value) and value.ndim), default=1)
    _check_steps(arguments.get("steps", 1), arguments.get("denoise", 1.0), given)
    instance = node()
    function = getattr(instance, instance.FUNCTION)
    if inspect.iscoroutinefunction(function):
        raise Unknown
    try:
        result = function(**arguments)
    except Exception as error:  # a node's own complaint about its values
        raise Unknown from error
    result, kinds, output = getattr(result, "result", result), list(node.RETURN_TYPES), tree.get("output")
    return result[output if type(output) is int and kinds[output:output + 1] == [kind] else kinds.index(kind)]


def _allowed(value: Any, kind: Any, options: dict | None = None) -> bool:
    """Whether ComfyUI would accept a plain value for an input."""
    options = options or {}
    choices = kind if isinstance(kind, list) else options.get("options") if kind == "COMBO" else None
    if choices is not None:
        return value in choices
    if kind == "BOOLEAN":
        return isinstance(value, bool)
    if kind == "STRING":
        return isinstance(value, str)
    if kind not in ("INT", "FLOAT") or not _is_number(value) or (kind == "INT" and value != int(value)):
        return False
    return options.get("min", -1e9) <= value <= options.get("max", 1e9)


def _check_steps(steps: Any, denoise: Any, given: int = 1) -> None:
    """Raises Unknown if a schedule of so many steps, for each of `given` noise levels, would take long."""
    if not _is_number(steps) or not 1 <= steps <= MAX_STEPS or not _is_number(denoise) or not 0.0 < denoise <= 1.0:
        raise Unknown
    if steps / denoise > 10 * MAX_STEPS or given * steps > 10 * MAX_STEPS:
        raise Unknown


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _first(inputs: dict, *names: str) -> Any:
    return next((inputs[name] for name in names if isinstance(inputs.get(name), dict)), None)
