"""Models whose path for replaced blocks is not their plain one, built from the host's classes with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.supported_models
import pytest
import torch

from tests.tiny.weights import random_weights


@dataclass(frozen=True)
class OddModel:
    """A model of the host, its two prompts and an empty latent."""

    model: Any
    prompts: tuple[list, list]
    latent: dict[str, torch.Tensor]


def _built(config_name: str, unet_config: dict, state: dict | None = None):
    config_class = getattr(comfy.supported_models, config_name, None)
    if config_class is None:
        pytest.skip(f"this ComfyUI has no {config_name}")
    config = config_class({**config_class.unet_config, **unet_config})
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model(state or {}, device="cpu")
    model.diffusion_model.load_state_dict(random_weights(model.diffusion_model.state_dict(), 0))
    model.requires_grad_(False)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model.eval(), load_device=cpu, offload_device=cpu)


def _prompts(width: int, **values) -> tuple[list, list]:
    generator = torch.Generator().manual_seed(0)
    return tuple([[torch.randn(1, 8, width, generator=generator), dict(values)]] for _ in range(2))


@torch.inference_mode(False)
def kandinsky5() -> OddModel:
    """Its `original_block` calls the block by names that it does not have."""
    model = _built("Kandinsky5", {
        "in_text_dim": 64, "in_text_dim2": 32, "time_dim": 64, "model_dim": 64, "ff_dim": 128, "visual_embed_dim": 132,
        "num_text_blocks": 1, "num_visual_blocks": 3})
    return OddModel(model, _prompts(64, pooled_output=torch.ones(1, 32)), {"samples": torch.zeros(1, 16, 2, 4, 6)})


@torch.inference_mode(False)
def hunyuan3d21() -> OddModel:
    """Its `original_block` returns a tensor."""
    model = _built("Hunyuan3Dv2_1", {
        "in_channels": 64, "hidden_size": 64, "context_dim": 64, "num_heads": 4, "depth": 3, "qkv_bias": False,
        "num_moe_layers": 1, "num_experts": 2, "guidance_cond_proj_dim": None})
    return OddModel(model, _prompts(64, pooled_output=None), {"samples": torch.zeros(1, 64, 16)})


@torch.inference_mode(False)
def stable_audio3() -> OddModel:
    """Its `original_block` drops an argument, `local_add_cond`."""
    from comfy.ldm.audio.embedders import NumberConditioner

    try:
        embedder = NumberConditioner(768, min_val=0, max_val=384, fourier_features_type="expo")
    except TypeError:
        pytest.skip("this ComfyUI has no StableAudio3")
    seconds = random_weights(embedder.state_dict(), 1)
    channels = comfy.supported_models.StableAudio3.latent_format().latent_channels
    model = _built("StableAudio3", {
        "io_channels": channels, "embed_dim": 128, "num_heads": 2, "depth": 3, "cond_token_dim": 768,
        "project_cond_tokens": True, "global_cond_dim": 768, "global_cond_type": "adaLN", "num_memory_tokens": 4,
        "local_add_cond_dim": channels + 1, "timestep_features_type": "expo"},
        {f"conditioner.conditioners.seconds_total.{name}": value for name, value in seconds.items()})
    return OddModel(model, _prompts(768, pooled_output=None), {"samples": torch.zeros(1, channels, 24)})


ODD = {"kandinsky5": kandinsky5, "hunyuan3d21": hunyuan3d21, "stable_audio3": stable_audio3}
