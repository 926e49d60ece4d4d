"""Fingerprints of models and trainings, and what identifies a model to artists."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch

VALUES = 64  # that a tensor is sampled at, evenly spread


def family(model) -> str:
    """The architecture's name: that of the host's model class, such as "Flux"."""
    return type(model.model).__name__


def layout(network: torch.nn.Module) -> str:
    """Hash of an architecture and its size: the same for every fine-tune, precision, quantisation and ComfyUI release.

    Computed from the lengths of the network's lists of blocks and of all its biases, which none of these changes.
    """
    lists = {name: len(child) for name, child in network.named_children() if isinstance(child, torch.nn.ModuleList)}
    biases = {name: len(tensor) for name, tensor in network.state_dict().items()
              if name.endswith(".bias") and tensor.ndim == 1}
    return hashlib.sha256(repr((sorted(lists.items()), sorted(biases.items()))).encode()).hexdigest()[:16]


def fingerprint(*things: Any) -> str:
    """Hash of values of any kind; equal values have equal hashes, in every process."""
    digest = hashlib.sha256()
    for thing in things:
        _feed(digest, thing, depth=8)
    return digest.hexdigest()[:24]


def contents(model) -> list:
    """What identifies a MODEL in a fingerprint: its weights and the LoRAs on it."""
    return [model.model.diffusion_model.state_dict(), model.patches, sorted(model.object_patches)]


def _feed(digest, thing: Any, depth: int) -> None:
    if depth == 0:
        return
    if isinstance(thing, torch.Tensor):
        digest.update(f"tensor {list(thing.shape)} {thing.dtype};".encode() + _few_values(thing))
    elif isinstance(thing, Mapping):
        for key in sorted(thing, key=str):
            digest.update(f"{{{key}:".encode())
            _feed(digest, thing[key], depth - 1)
    elif isinstance(thing, (list, tuple)):
        digest.update(f"[{len(thing)}".encode())
        for part in thing:
            _feed(digest, part, depth - 1)
    elif thing is None or isinstance(thing, (bool, int, float, str)):
        digest.update(f"{type(thing).__name__} {thing};".encode())
    else:  # an object of the host or another node: its type, and the tensors and plain values that it holds
        digest.update(type(thing).__qualname__.encode())
        plain = (torch.Tensor, bool, int, float, str, tuple)
        _feed(digest, {k: v for k, v in getattr(thing, "__dict__", {}).items() if isinstance(v, plain)}, depth - 1)


def _few_values(tensor: torch.Tensor) -> bytes:
    try:
        flat = tensor.detach().reshape(-1)
        return flat[:: max(1, flat.numel() // VALUES)].to("cpu", torch.float32).numpy().tobytes()
    except (RuntimeError, TypeError, NotImplementedError):  # a quantised tensor that can't be indexed
        return b""


def sampler_name(sampler) -> str:
    """The name of the host's sampler object, such as "euler"."""
    function = getattr(sampler, "sampler_function", None)
    name = getattr(function, "__name__", type(sampler).__name__)
    return name.removeprefix("sample_").removesuffix("_function")


def cfg_of(guider) -> float | None:
    """A guider's scale of guidance; None where it has none, or one for every step."""
    cfg = getattr(guider, "cfg", None)
    return float(cfg) if isinstance(cfg, (int, float)) else None


def shift_of(model) -> float | None:
    """The shift of the MODEL's noise schedule, or None where it has none."""
    shift = getattr(model.get_model_object("model_sampling"), "shift", None)
    return float(shift) if isinstance(shift, (int, float)) and 0.0 <= shift <= 1000.0 else None


def size_of(model, shape: tuple[int, ...]) -> list[int]:
    """Width and height in pixels, and for video the number of frames, of a latent of this shape."""
    latent_format = model.get_model_object("latent_format")
    scale = getattr(latent_format, "spacial_downscale_ratio", 8)
    size = [shape[-1] * scale, shape[-2] * scale]
    if len(shape) == 5:
        size.append((shape[2] - 1) * (getattr(latent_format, "temporal_downscale_ratio", None) or 4) + 1)
    return size
