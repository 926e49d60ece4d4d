"""Tiny models of the families whose network is no transformer: UNets of Stable Diffusion's kind, and Stable Cascade."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.tiny.conditioning import Normal, given, nothing, pooled
from tests.tiny.family import Family

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
_NARROW = {**_UNET, "model_channels": 64}
_SDXL = {
    **_UNET,
    "num_classes": "sequential",
    "adm_in_channels": 2816,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 1, 1],
    "transformer_depth": [0, 0, 2, 2, 10, 10],  # by which the host knows SDXL; the rest may be small
    "transformer_depth_output": [0] * 9,
    "use_linear_in_transformer": True,
    "context_dim": 2048,
}
_SVD = {  # with the depths by which the host knows it
    **_NARROW,
    "num_classes": "sequential",
    "in_channels": 8,
    "adm_in_channels": 768,
    "num_res_blocks": [2, 2, 2, 2],
    "channel_mult": [1, 1, 1, 1],
    "transformer_depth": [1, 1, 1, 1, 1, 1, 0, 0],
    "transformer_depth_output": [0] * 12,
    "use_linear_in_transformer": True,
    "context_dim": 1024,
    "use_temporal_resblock": True,
    "use_temporal_attention": True,
    "extra_ff_mix_layer": True,
    "use_spatial_context": True,
    "merge_strategy": "learned_with_images",
    "video_kernel_size": [3, 1, 1],
    "disable_temporal_crossattention": False,
}
_LATENT = (4, 8, 12)
_NEW = "0.30.0"  # not tried on older releases
_CROP = {"width": 96, "height": 64, "target_width": 96, "target_height": 64}

_sd15 = Family("sd15", "SD1.5", "SD15", {**_UNET, "transformer_depth_middle": 1}, _LATENT, text_width=768,
               weights=("v1-5-pruned", "DreamShaper"))
_sdxl = Family("sdxl", "SDXL", "SDXL", _SDXL, _LATENT, text_width=2048, extras=pooled(1280, **_CROP),
               weights=("sd_xl_base", "sd_xl_turbo"))


def _of_sd(name: str, title: str, config: str, text_width: int = 1024, extras=nothing, beside=None, latent=_LATENT,
           weights: tuple[str, ...] = (), **changes) -> Family:
    """A UNet of SD1.5's form and SD2's width of text, narrow."""
    linear = {"use_linear_in_transformer": text_width != 768, "context_dim": text_width}
    return Family(name, title, config, {**_NARROW, **linear, **changes}, latent, text_width=text_width, extras=extras,
                  beside=beside or {}, weights=weights, host_since=_NEW)


def _of_sdxl(name: str, title: str, config: str, depths: list[int], **changes) -> Family:
    """A distilled SDXL, known by its depths."""
    levels = len(depths) // (1 if len(depths) == 3 else 2)
    blocks = {"num_res_blocks": [len(depths) // levels] * levels, "channel_mult": [1] * levels,
              "transformer_depth": depths, "transformer_depth_output": [0] * (len(depths) + levels)}
    return replace(_sdxl, name=name, title=title, config=config, host_since=_NEW, weights=(),
                   unet_config={**_SDXL, "model_channels": 64, **blocks, **changes})


UNETS = [
    _sdxl,
    _of_sdxl("ssd1b", "SSD-1B", "SSD1B", [0, 0, 2, 2, 4, 4]),
    _of_sdxl("vega", "Segmind Vega", "Segmind_Vega", [0, 0, 1, 1, 2, 2]),
    _of_sdxl("koala_700m", "KOALA 700M", "KOALA_700M", [0, 2, 5]),
    _of_sdxl("koala_1b", "KOALA 1B", "KOALA_1B", [0, 2, 6]),
    _of_sdxl("sdxl_ip2p", "SDXL InstructPix2Pix", "SDXL_instructpix2pix", [0, 0, 2, 2, 10, 10], in_channels=8),
    replace(_of_sdxl("sdxl_refiner", "SDXL refiner", "SDXLRefiner", [0, 0, 4, 4, 4, 4, 0, 0], context_dim=1280,
                     adm_in_channels=2560), text_width=1280, weights=("sd_xl_refiner",)),
    _sd15,
    _of_sd("sd15_ip2p", "SD1.5 InstructPix2Pix", "SD15_instructpix2pix", 768, in_channels=8),
    _of_sd("sd2", "SD2", "SD20", weights=("v2-1",)),
    _of_sd("sd21_unclip_l", "SD2.1 unCLIP L", "SD21UnclipL", num_classes="sequential", adm_in_channels=1536),
    _of_sd("sd21_unclip_h", "SD2.1 unCLIP H", "SD21UnclipH", num_classes="sequential", adm_in_channels=2048),
    _of_sd("sd_x4", "SD x4 upscaler", "SD_X4Upscaler", in_channels=7, num_classes=1000, disable_self_attentions=[True],
           extras=given(concat_image=Normal((1, 3, 8, 12)))),
    _of_sd("lotus", "Lotus", "LotusD", num_classes="sequential", adm_in_channels=4, weights=("lotus-depth",)),
    _of_sd("zero123", "Stable Zero123", "Stable_Zero123", 768, in_channels=8,
           beside={"cc_projection.weight": (768, 772), "cc_projection.bias": (768,)}),
    Family("svd", "Stable Video Diffusion", "SVD_img2vid", _SVD, _LATENT, text_width=1024, weights=("svd",),
           host_since=_NEW),
    Family("sv3d_u", "SV3D u", "SV3D_u", {**_SVD, "adm_in_channels": 256}, _LATENT, text_width=1024, host_since=_NEW),
    Family("sv3d_p", "SV3D p", "SV3D_p", {**_SVD, "adm_in_channels": 1280}, _LATENT, text_width=1024, host_since=_NEW),
    Family("cascade_c", "Stable Cascade C", "Stable_Cascade_C",
           {"stable_cascade_stage": "c", "c_cond": 64, "c_hidden": [64, 64], "nhead": [2, 2],
            "blocks": [[1, 2], [2, 1]], "c_clip_text": 64, "c_clip_text_pooled": 64}, (16, 8, 12), text_width=64,
           extras=pooled(64), weights=("stable_cascade_stage_c",), host_since=_NEW),
    Family("cascade_b", "Stable Cascade B", "Stable_Cascade_B",
           {"stable_cascade_stage": "b", "c_cond": 64, "c_hidden": [32, 32, 64, 64], "nhead": [-1, -1, 2, 2],
            "blocks": [[1, 1, 1, 1], [1, 1, 1, 1]], "block_repeat": [[1, 1, 1, 1], [1, 1, 1, 1]], "c_clip": 64},
           (4, 16, 16), text_width=64, weights=("stable_cascade_stage_b",), host_since=_NEW,
           extras=given(pooled_output=Normal((1, 64)), stable_cascade_prior=torch.zeros(1, 16, 2, 2))),
]
