"""Models whose weights are stored otherwise than they are used: quantised in blocks, or left out of the device."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import comfy.model_management
import comfy.ops
import comfy.sd
import folder_paths
import torch

from tests.sampling import models

BLOCK = 32  # numbers that share a scale, as in GGUF's Q8_0


class _Quantised(comfy.ops.manual_cast):
    """Operations for the host's loader, as GGUF loaders give it."""

    class Linear(comfy.ops.manual_cast.Linear):
        scale = None

        def _load_from_state_dict(self, state_dict, prefix, *args):
            super()._load_from_state_dict(state_dict, prefix, *args)
            if self.in_features % BLOCK == 0:
                blocks = self.weight.unflatten(1, (-1, BLOCK))
                self.scale = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-12) / 127
                self.weight = torch.nn.Parameter(
                    (blocks / self.scale).round().to(torch.int8).flatten(1), requires_grad=False)

        def forward(self, given, *args, **kwargs):
            if self.scale is None:
                return super().forward(given, *args, **kwargs)
            weight = (self.weight.unflatten(1, (-1, BLOCK)) * self.scale).flatten(1)
            return torch.nn.functional.linear(given, weight.to(given.dtype), self.bias)


def quantised(name: str):
    """A MODEL of the tiny family, with the weights of its layers as 8-bit numbers and a scale for every block."""
    models(name)
    path = folder_paths.get_full_path("diffusion_models", f"{name}.safetensors")
    return comfy.sd.load_diffusion_model(path, model_options={"custom_operations": _Quantised})


def low_vram(sample: Callable) -> Callable:
    """`sample` as on a device with no room for the model: the host moves every weight when it is used."""
    management = comfy.model_management

    def moved(model):
        management.unload_all_models()
        try:
            with mock.patch.object(management, "is_device_cpu", return_value=False), mock.patch.object(
                    management, "vram_state", management.VRAMState.NO_VRAM):
                samples = sample(model)
                assert model.model.model_lowvram
                return samples
        finally:
            management.unload_all_models()

    return moved
