"""Random weights with which a network of any architecture gives finite outputs of order 1."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import torch


def random_weights(like: Mapping[str, torch.Tensor], seed: int) -> dict[str, torch.Tensor]:
    """Float32 tensors of the names and shapes in ``like``, the same for the same seed whatever the order.

    Matrices and kernels are normal with variance 1/fan-in, so that activations keep their size; norm gains are
    near 1 and biases near 0. No tensor is zero: unlike the initialisation that training starts from, every block,
    gate and output layer has an effect.

    Args:
        like: a state dict; only names and shapes are read, so its tensors may be on the meta device.
        seed: any int; another seed gives another model.
    """
    return {name: _random(name, tensor.shape, seed) for name, tensor in like.items()}


def _random(name: str, shape: torch.Size, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
    values = torch.randn(shape, generator=generator)
    if len(shape) > 1:
        return values * shape[1:].numel() ** -0.5
    if name.endswith((".weight", ".scale", ".gamma")):
        return 1 + 0.1 * values
    return 0.1 * values
