"""Tiny random-weight models of every family that the pack is tested on, as files that the host's loader opens.

The shapes come from the host's own model classes: a family names a class of the host's ``comfy.supported_models``
and the configuration that the host would read from a checkpoint of that family, with the smallest width and depth.
Everything is float32 and made from a seed. Import this module only in a process where the host was started.

In a workflow, the files load with ``UNETLoader`` (``unet_name``: the file's name, ``weight_dtype``: ``default``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from safetensors.torch import save_file

from tests.tiny.conditioning import Extras, constant, control_video, first_frame, normal, nothing, pooled
from tests.tiny.weights import random_weights

TOKENS = 8  # of every text embedding


@dataclass(frozen=True)
class Family:
    """A model family: how to make its file, load it, and run it.

    Attributes:
        name: the key in ``FAMILIES`` and the stem of the file names.
        title: what artists call it.
        config: the class of the host's ``comfy.supported_models`` that must claim the file.
        unet_config: what the host's detection reads from the file; the network is built from it.
        latent_shape: (channels, height, width), or (channels, frames, height, width) for video, of the smallest
            latent that has more than one token along every axis.
        text_width: channels of the text embedding.
        blocks: how many blocks the network offers to ``patches_replace["dit"]``; 0: only the output can be cached.
        extras: what else its CONDITIONING carries.
        narrow: constructor arguments that the host fixes instead of reading them from the weights (a width of
            thousands), replaced while the file is made and loaded.
        narrow_match: values that the host compares to claim the file, replaced likewise.
        experts: one part of a file name for each model that the family runs one after the other.
        host_since: the first ComfyUI release that runs the family here.
    """

    name: str
    title: str
    config: str
    unet_config: Mapping[str, Any]
    latent_shape: tuple[int, ...]
    text_width: int
    blocks: int
    extras: Extras = nothing
    narrow: Mapping[str, Any] = field(default_factory=dict)
    narrow_match: Mapping[str, Any] = field(default_factory=dict)
    experts: tuple[str, ...] = ("",)
    host_since: str = "0.16.3"

    def write(self, folder: Path) -> list[Path]:
        """Writes ``folder/NAME.safetensors`` (one file for each expert) unless it is there, and returns the paths."""
        paths = [Path(folder) / f"{self.name}{expert}.safetensors" for expert in self.experts]
        for seed, path in enumerate(paths):
            if not path.exists():
                save_file(random_weights(self._shapes(), seed), path)
        return paths

    def load(self, paths: list[Path]) -> list:
        """Loads the files with the host's own ``UNETLoader`` and returns its MODELs, in the same order."""
        import folder_paths
        from nodes import UNETLoader

        folders, extensions = folder_paths.folder_names_and_paths["diffusion_models"]
        here = {"diffusion_models": ([str(paths[0].parent), *folders], extensions)}
        with self._narrowed(), mock.patch.dict(folder_paths.folder_names_and_paths, here):
            return [UNETLoader().load_unet(path.name, "default")[0] for path in paths]

    def conditioning(self, seed: int = 0, batch: int = 1) -> tuple[list, list]:
        """The positive and negative CONDITIONING of ``TOKENS`` tokens each; another seed is another prompt."""
        return self._prompt(2 * seed, batch), self._prompt(2 * seed + 1, batch)

    def latent(self, batch: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
        """A LATENT of normal numbers, (batch, *latent_shape)."""
        return {"samples": normal(torch.Generator().manual_seed(seed), batch, *self.latent_shape)}

    def _prompt(self, seed: int, batch: int) -> list:
        generator = torch.Generator().manual_seed(seed)
        text = normal(generator, batch, TOKENS, self.text_width)
        # The host's text encoders always set a pooled output, None for those that have none.
        return [[text, {"pooled_output": None, **self.extras(generator, batch, self.latent_shape)}]]

    def _shapes(self) -> dict[str, torch.Tensor]:
        """The state dict of the host's own network of this configuration, on the meta device."""
        import comfy.supported_models

        with self._narrowed():
            config = getattr(comfy.supported_models, self.config)(dict(self.unet_config))
            config.set_inference_dtype(torch.float32, None)
            return config.get_model({}, device="meta").diffusion_model.state_dict()

    @contextmanager
    def _narrowed(self) -> Iterator[None]:
        import comfy.supported_models

        config = getattr(comfy.supported_models, self.config)
        with (
            mock.patch.object(config, "unet_extra_config", {**config.unet_extra_config, **self.narrow}),
            mock.patch.object(config, "unet_config", {**config.unet_config, **self.narrow_match}),
        ):
            yield


# What detection reads from any FLUX-type checkpoint, narrowed to one attention head of 128.
_FLUX = {
    "image_model": "flux",
    "axes_dim": [16, 56, 56],
    "num_heads": 1,
    "mlp_ratio": 4.0,
    "theta": 10000,
    "out_channels": 16,
    "qkv_bias": True,
    "txt_ids_dims": [],
    "in_channels": 16,
    "hidden_size": 128,
    "context_in_dim": 64,
    "patch_size": 2,
    "vec_in_dim": 32,
    "depth": 2,
    "depth_single_blocks": 2,
    "guidance_embed": True,
    "yak_mlp": False,
    "txt_norm": False,
}
_FLUX2 = {
    **_FLUX,
    "image_model": "flux2",
    "axes_dim": [32, 32, 32, 32],
    "mlp_ratio": 3.0,
    "theta": 2000,
    "in_channels": 128,
    "out_channels": 128,
    "global_modulation": True,
    "mlp_silu_act": True,
    "qkv_bias": False,
    "ops_bias": False,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
    "txt_ids_dims": [3],
    "patch_size": 1,
    "vec_in_dim": None,
}
_CHROMA = {key: value for key, value in _FLUX.items() if key not in ("guidance_embed", "yak_mlp", "txt_norm")} | {
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "vec_in_dim": None,
}
_WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 128,
    "in_dim": 16,
    "out_dim": 16,
    "num_heads": 1,
    "ffn_dim": 256,
    "num_layers": 3,
    "patch_size": (1, 2, 2),
    "freq_dim": 256,
    "window_size": (-1, -1),
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
}
_HUNYUAN_VIDEO = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "patch_size": [1, 2, 2],
    "out_channels": 16,
    "vec_in_dim": 768,
    "axes_dim": [16, 56, 56],
    "meanflow": False,
    "context_in_dim": 64,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 2,
    "depth_single_blocks": 2,
    "theta": 256,
    "qkv_bias": True,
    "byt5": False,
    "guidance_embed": True,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
_QWEN_IMAGE = {"image_model": "qwen_image", "in_channels": 64, "num_layers": 3}
_LUMINA2 = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 128,
    "cap_feat_dim": 64,
    "n_layers": 3,
    "qk_norm": True,
}
_LUMINA2_HEADS = {
    "n_heads": 1,
    "n_kv_heads": 1,
    "axes_dims": [32, 48, 48],
    "ffn_dim_multiplier": 1.0,
}
_SD3 = {  # width = 64 * depth
    "in_channels": 16,
    "patch_size": 2,
    "out_channels": 16,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": 32,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": 64, "out_features": 128},
    },
    "num_patches": 64,
    "pos_embed_max_size": 8,
    "qk_norm": "rms",
    "pos_embed_scaling_factor": None,
    "x_block_self_attn_layers": [0],
}
_LTXV = {"image_model": "ltxv", "num_layers": 3, "attention_head_dim": 4, "cross_attention_dim": 128}  # 32 heads
_UNET = {
    "use_checkpoint": False,
    "image_size": 32,
    "use_spatial_transformer": True,
    "legacy": False,
    "adm_in_channels": None,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 320,
    "num_res_blocks": [1],
    "transformer_depth": [1],
    "transformer_depth_output": [1, 0],
    "channel_mult": [1],
    "transformer_depth_middle": -2,  # none
    "use_linear_in_transformer": False,
    "context_dim": 768,
    "use_temporal_resblock": False,
    "use_temporal_attention": False,
}
_IMAGE = (16, 8, 12)
_VIDEO = (16, 3, 4, 6)

_wan = Family("wan21_t2v", "Wan 2.1 text to video", "WAN21_T2V", _WAN, _VIDEO, text_width=4096, blocks=3)
_families = [
    Family(
        "flux",
        "FLUX.1 dev",
        "Flux",
        _FLUX,
        _IMAGE,
        text_width=64,
        blocks=4,
        extras=pooled(32, guidance=3.5),
    ),
    Family(
        "flux_schnell",
        "FLUX.1 schnell",
        "FluxSchnell",
        {**_FLUX, "guidance_embed": False},
        _IMAGE,
        text_width=64,
        blocks=4,
        extras=pooled(32),
    ),
    Family(
        "flux2",
        "FLUX.2",
        "Flux2",
        _FLUX2,
        (128, 4, 6),
        text_width=64,
        blocks=4,
        extras=constant(guidance=4.0),
    ),
    Family(
        "chroma",
        "Chroma",
        "Chroma",
        _CHROMA,
        _IMAGE,
        text_width=64,
        blocks=4,
        narrow={"out_dim": 128, "hidden_dim": 128, "n_layers": 2},
    ),
    _wan,
    replace(
        _wan,
        name="wan21_i2v",
        title="Wan 2.1 image to video",
        config="WAN21_I2V",
        unet_config={**_WAN, "model_type": "i2v", "in_dim": 36},
        extras=first_frame,
    ),
    replace(
        _wan,
        name="wan21_vace",
        title="Wan 2.1 VACE",
        config="WAN21_Vace",
        unet_config={
            **_WAN,
            "model_type": "vace",
            "num_layers": 4,
            "vace_layers": 2,
            "vace_in_dim": 96,
        },
        blocks=4,
        extras=control_video,
    ),
    replace(
        _wan,
        name="wan22_14b",
        title="Wan 2.2 14B (two experts)",
        experts=("_high_noise", "_low_noise"),
    ),
    replace(
        _wan,
        name="wan22_5b",
        title="Wan 2.2 5B",
        config="WAN22_T2V",
        unet_config={**_WAN, "in_dim": 48, "out_dim": 48},
        latent_shape=(48, 3, 4, 6),
    ),
    Family(
        "hunyuan_video",
        "HunyuanVideo",
        "HunyuanVideo",
        _HUNYUAN_VIDEO,
        _VIDEO,
        text_width=64,
        blocks=4,
        extras=pooled(768, guidance=6.0),
    ),
    Family(
        "qwen_image",
        "Qwen-Image",
        "QwenImage",
        _QWEN_IMAGE,
        (16, 1, 8, 12),
        text_width=64,
        blocks=3,
        narrow={"num_attention_heads": 1, "joint_attention_dim": 64},
    ),
    Family(
        "z_image",
        "Z-Image",
        "ZImage",
        {**_LUMINA2, "dim": 256},
        _IMAGE,
        text_width=64,
        blocks=0,
        narrow={
            **_LUMINA2_HEADS,
            "n_heads": 2,
            "n_kv_heads": 2,
            "rope_theta": 256.0,
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
        narrow_match={"dim": 256},
    ),
    Family(
        "lumina2",
        "Lumina 2",
        "Lumina2",
        _LUMINA2,
        _IMAGE,
        text_width=64,
        blocks=0,
        narrow=_LUMINA2_HEADS,
    ),
    Family("sd3", "SD3", "SD3", _SD3, _IMAGE, text_width=64, blocks=2, extras=pooled(32)),
    Family(
        "ltxv",
        "LTX-Video",
        "LTXV",
        _LTXV,
        (128, 3, 4, 6),
        text_width=4096,
        blocks=3,
        extras=constant(frame_rate=25, attention_mask=torch.ones(1, TOKENS, dtype=torch.long)),
    ),
    Family(
        "sdxl",
        "SDXL",
        "SDXL",
        {
            **_UNET,
            "num_classes": "sequential",
            "adm_in_channels": 2816,
            "num_res_blocks": [2, 2, 2],
            "channel_mult": [1, 1, 1],
            "transformer_depth": [0, 0, 2, 2, 10, 10],  # by which the host knows SDXL; the rest may be small
            "transformer_depth_output": [0] * 9,
            "use_linear_in_transformer": True,
            "context_dim": 2048,
        },
        (4, 8, 12),
        text_width=2048,
        blocks=0,
        extras=pooled(1280, width=96, height=64, target_width=96, target_height=64),
    ),
    Family("sd15", "SD1.5", "SD15", {**_UNET, "transformer_depth_middle": 1}, (4, 8, 12), text_width=768, blocks=0),
]
FAMILIES: dict[str, Family] = {family.name: family for family in _families}
