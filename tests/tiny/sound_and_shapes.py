"""Tiny models of the families that make sound or three-dimensional shapes."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.tiny.conditioning import Normal, given
from tests.tiny.family import TOKENS, Family

_NEW = "0.30.0"  # not tried on older releases


def _lengths(*names: str, learned: bool) -> dict[str, tuple[int, ...]]:
    """What a Stable Audio checkpoint holds beside the network: embedders of a length in seconds."""
    shapes = {"0.weights": (128,), "1.weight": (768, 257)} if learned else {"1.weight": (768, 256)}
    return {f"conditioner.conditioners.{name}.embedder.embedding.{key}": shape
            for name in names for key, shape in {**shapes, "1.bias": (768,)}.items()}


_hunyuan3d = Family(
    "hunyuan3d", "Hunyuan3D 2", "Hunyuan3Dv2",
    {"image_model": "hunyuan3d2", "in_channels": 64, "context_in_dim": 64, "hidden_size": 64, "num_heads": 2,
     "depth": 2, "depth_single_blocks": 2, "guidance_embed": False}, (64, 16), text_width=64,
    weights=("hunyuan3d-dit-v2",), host_since=_NEW)

SOUND_AND_SHAPES = [
    Family("stable_audio", "Stable Audio Open", "StableAudio",
           {"audio_model": "dit1.0", "io_channels": 64, "embed_dim": 128, "depth": 3, "num_heads": 2,
            "cond_token_dim": 768, "global_cond_dim": 1536, "project_cond_tokens": True}, (64, 24), text_width=768,
           blocks=3, beside=_lengths("seconds_start", "seconds_total", learned=True), weights=("stable-audio-open",),
           host_since=_NEW),
    Family("stable_audio3", "Stable Audio 3", "StableAudio3",
           {"audio_model": "dit1.0", "io_channels": 256, "embed_dim": 128, "depth": 3, "num_heads": 2,
            "cond_token_dim": 768, "global_cond_dim": 768, "project_cond_tokens": True, "num_memory_tokens": 4,
            "global_cond_type": "adaLN", "global_cond_shared_embed": True, "local_add_cond_dim": 257,
            "timestep_features_type": "expo"}, (256, 24), text_width=768,
           beside=_lengths("seconds_total", learned=False), weights=("stable_audio_3",), host_since=_NEW),
    Family("ace_step", "ACE-Step", "ACEStep",
           {"audio_model": "ace", "attention_head_dim": 64, "num_attention_heads": 2, "inner_dim": 128, "num_layers": 3,
            "mlp_ratio": 2.5, "text_embedding_dim": 64, "lyric_encoder_vocab_size": 32},
           (8, 16, 24), text_width=64, extras=given(conditioning_lyrics=torch.arange(TOKENS)[None]),
           weights=("ace_step_v1_",), host_since=_NEW),
    Family("ace_step15", "ACE-Step 1.5", "ACEStep15",
           {"audio_model": "ace1.5", "hidden_size": 128, "intermediate_size": 128, "num_heads": 1, "num_kv_heads": 1,
            "encoder_hidden_size": 128, "encoder_intermediate_size": 128, "encoder_num_heads": 1, "num_dit_layers": 3,
            "num_lyric_layers": 1, "num_timbre_layers": 1, "num_tokenizer_layers": 1, "text_hidden_dim": 64,
            "fsq_dim": 128}, (64, 20), text_width=64,
           extras=given(conditioning_lyrics=Normal((1, TOKENS, 64))), weights=("acestep_v1.5", "ace_step_1.5"),
           host_since=_NEW),
    _hunyuan3d,
    replace(_hunyuan3d, name="hunyuan3d_mini", title="Hunyuan3D 2 mini", config="Hunyuan3Dv2mini",
            unet_config={**_hunyuan3d.unet_config, "depth": 8}, weights=("hunyuan3d-dit-v2-mini",)),
    Family("hunyuan3d21", "Hunyuan3D 2.1", "Hunyuan3Dv2_1",
           {"image_model": "hunyuan3d2_1", "in_channels": 64, "hidden_size": 64, "context_dim": 64, "num_heads": 4,
            "depth": 3, "num_moe_layers": 1, "num_experts": 2, "guidance_cond_proj_dim": None}, (64, 16),
           text_width=64, weights=("hunyuan_3d_v2.1",), host_since=_NEW),
    Family("triposplat", "TripoSplat", "TripoSplat",
           {"image_model": "triposplat", "q_token_length": 16, "model_channels": 64, "cond_channels": 64,
            "num_blocks": 3, "num_refiner_blocks": 1, "num_head_channels": 32, "cond2_channels": 128},
           ((16, 16), (1, 5)), text_width=64, extras=given(reference_latents=[Normal((1, 128, 4, 4))]),
           weights=("triposplat",), host_since=_NEW),
]
