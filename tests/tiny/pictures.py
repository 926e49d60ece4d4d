"""Tiny models of the families that make pictures by a transformer."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.tiny.conditioning import Normal, both, constant, given, pooled
from tests.tiny.family import TOKENS, Family, Shapes

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
    "out_dim": 128,
    "hidden_dim": 128,
    "n_layers": 2,
    "vec_in_dim": None,
}
_QWEN_IMAGE = {
    "image_model": "qwen_image",
    "in_channels": 64,
    "num_layers": 3,
    "num_attention_heads": 1,
    "joint_attention_dim": 64,
}
_LUMINA2 = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "dim": 128,
    "cap_feat_dim": 64,
    "n_layers": 3,
    "qk_norm": True,
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
_OMNIGEN = {  # one head of 120
    "hidden_size": 120,
    "axes_dim_rope": [40, 40, 40],
    "num_attention_heads": 1,
    "num_kv_heads": 1,
    "num_layers": 3,
    "num_refiner_layers": 1,
    "multiple_of": 64,
}
_PIXART = {
    "num_heads": 2,
    "patch_size": 2,
    "hidden_size": 96,
    "in_channels": 4,
    "depth": 3,
    "input_size": 64,
    "pe_interpolation": 1,
    "model_max_length": 300,
    "caption_channels": 64,
}
_HYDIT = {
    "image_model": "hydit",
    "depth": 4,
    "hidden_size": 64,
    "num_heads": 2,
    "text_states_dim": 32,
    "text_states_dim_t5": 48,
    "text_len": TOKENS,
    "text_len_t5": TOKENS,
}
_PIXELS = {  # of PixelDiT
    "num_groups": 2,
    "hidden_size": 64,
    "pixel_hidden_size": 16,
    "pixel_attn_hidden_size": 32,
    "pixel_num_groups": 2,
    "patch_depth": 3,
    "pixel_depth": 1,
    "patch_size": 4,
    "txt_embed_dim": 64,
}
_COSMOS2 = {
    "image_model": "cosmos_predict2",
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "in_channels": 16,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "model_channels": 128,
    "num_blocks": 3,
    "num_heads": 1,
    "crossattn_emb_channels": 64,
    "adaln_lora_dim": 16,
    "pos_emb_cls": "rope3d",
    "use_adaln_lora": True,
    "extra_per_block_abs_pos_emb": False,
}
_IMAGE = (16, 8, 12)
_NEW = "0.30.0"  # not tried on older releases
_MASK = torch.ones(1, TOKENS, dtype=torch.long)


def _pixeldit(shapes: Shapes) -> Shapes:
    """The names of a PixelDiT checkpoint, which holds both halves of a modulation in one matrix."""
    saved = {}
    for name, value in shapes.items():
        if ".adaLN_modulation_mlp." in name:
            continue
        if ".adaLN_modulation_msa." in name:
            name, value = name.replace("_msa.", ".0."), torch.cat((value, value))
        saved[f"core.{name}"] = value
    return saved


_flux = Family("flux", "FLUX.1 dev", "Flux", _FLUX, _IMAGE, text_width=64, blocks=4, extras=pooled(32, guidance=3.5),
               weights=("flux1-dev", "flux1-krea", "flux1-canny", "flux1-depth"))
_flux2 = Family("flux2", "FLUX.2", "Flux2", _FLUX2, (128, 4, 6), text_width=64, blocks=4,
                extras=constant(guidance=4.0), weights=("flux2_dev", "flux-2-klein"))
_qwen = Family("qwen_image", "Qwen-Image", "QwenImage", _QWEN_IMAGE, (16, 1, 8, 12), text_width=64, blocks=3,
               weights=("qwen_image_fp8", "qwen_image_bf16", "qwen_image_2512"))
_omnigen = Family("omnigen2", "OmniGen 2", "Omnigen2",
                  {**_OMNIGEN, "image_model": "omnigen2", "text_feat_dim": 64, "in_channels": 16}, _IMAGE,
                  text_width=64, extras=constant(attention_mask=_MASK), weights=("omnigen2",), host_since=_NEW)
_cosmos2 = Family("cosmos_predict2", "Cosmos Predict2 text to image", "CosmosT2IPredict2", _COSMOS2, (16, 1, 8, 12),
                  text_width=64, weights=("cosmos_predict2",), host_since=_NEW)
_hidream = Family("hidream", "HiDream-I1", "HiDream",
                  {"image_model": "hidream", "patch_size": 2, "in_channels": 16, "out_channels": 16,
                   "axes_dims_rope": [64, 32, 32], "max_resolution": [128, 128], "attention_head_dim": 128,
                   "num_attention_heads": 1, "caption_channels": [64, 64], "llama_layers": [0, 1, 1, 1],
                   "num_routed_experts": 2, "num_activated_experts": 1, "num_layers": 2, "num_single_layers": 2,
                   "text_emb_dim": 64}, _IMAGE, text_width=64, weights=("hidream_i1",), host_since=_NEW,
                  extras=given(pooled_output=Normal((1, 64)), conditioning_llama3=Normal((1, 2, TOKENS, 64))))

PICTURES = [
    _flux,
    Family("flux_schnell", "FLUX.1 schnell", "FluxSchnell", {**_FLUX, "guidance_embed": False}, _IMAGE, text_width=64,
           blocks=4, extras=pooled(32), weights=("flux1-schnell",)),
    replace(_flux, name="flux_fill", title="FLUX.1 Fill", config="FluxInpaint",
            unet_config={**_FLUX, "in_channels": 96}, weights=("flux1-fill", "flux.1-fill"), host_since=_NEW),
    replace(_flux, name="flux_kontext", title="FLUX.1 Kontext", weights=("flux1-dev-kontext",), host_since=_NEW,
            extras=pooled(32, guidance=3.5, reference_latents=[torch.full((1, 16, 8, 8), 0.5)])),
    _flux2,
    replace(_flux2, name="flux2_edit", title="FLUX.2 edit", weights=(), host_since=_NEW,
            extras=given(guidance=4.0, reference_latents=[Normal((1, 128, 4, 4))])),
    Family("longcat", "LongCat-Image", "LongCatImage",
           {**_FLUX, "guidance_embed": False, "vec_in_dim": None, "context_in_dim": 3584, "txt_ids_dims": [1, 2]},
           _IMAGE, text_width=3584, weights=("longcat_image",), host_since=_NEW),
    Family("ovis", "Ovis-Image", "FluxSchnell",
           {**_FLUX, "guidance_embed": False, "vec_in_dim": None, "yak_mlp": True, "txt_norm": True,
            "txt_ids_dims": [1, 2]}, _IMAGE, text_width=64, weights=("ovis_image",), host_since=_NEW),
    Family("chroma", "Chroma", "Chroma", _CHROMA, _IMAGE, text_width=64, blocks=4, weights=("Chroma1",)),
    Family("chroma_radiance", "Chroma Radiance", "ChromaRadiance",
           {**_CHROMA, "image_model": "chroma_radiance", "in_channels": 3, "out_channels": 3, "patch_size": 8,
            "nerf_hidden_size": 16, "nerf_mlp_ratio": 2, "nerf_depth": 1, "nerf_max_freqs": 4,
            "nerf_final_head_type": "conv", "nerf_tile_size": 512, "nerf_embedder_dtype": torch.float32,
            "use_x0": False, "use_sequential_txt_ids": False},
           (3, 16, 24), text_width=64, weights=("chroma-radiance",), host_since=_NEW),
    _qwen,
    replace(_qwen, name="qwen_image_edit", title="Qwen-Image-Edit", weights=("qwen_image_edit", "FireRed-Image-Edit"),
            unet_config={**_QWEN_IMAGE, "default_ref_method": "index_timestep_zero"}, host_since=_NEW,
            extras=given(reference_latents=[Normal((1, 16, 1, 8, 8))])),
    replace(_qwen, name="qwen_image_layered", title="Qwen-Image-Layered", latent_shape=(16, 3, 8, 12),
            unet_config={**_QWEN_IMAGE, "use_additional_t_cond": True}, weights=("qwen_image_layered",),
            host_since=_NEW),
    Family("z_image", "Z-Image", "ZImage",
           {**_LUMINA2, "dim": 256, "n_heads": 2, "n_kv_heads": 2, "rope_theta": 256.0, "z_image_modulation": True,
            "time_scale": 1000.0, "pad_tokens_multiple": 32}, _IMAGE, text_width=64, weights=("z_image",)),
    Family("lumina2", "Lumina 2", "Lumina2", _LUMINA2, _IMAGE, text_width=64, weights=("NetaYume",)),
    Family("newbie", "NewBie", "Lumina2", {**_LUMINA2, "clip_text_dim": 32}, _IMAGE, text_width=64, extras=pooled(32),
           weights=("NewBie",), host_since=_NEW),
    Family("krea2", "Krea 2", "Krea2",
           {"image_model": "krea2", "features": 128, "tdim": 64, "txtdim": 128, "heads": 1, "kvheads": 1, "layers": 3,
            "txtlayers": 2, "txtheads": 1, "txtkvheads": 1, "channels": 16}, (16, 1, 8, 12), text_width=256,
           weights=("krea2",), host_since=_NEW),
    Family("anima", "Anima", "Anima", {**_COSMOS2, "image_model": "anima"}, (16, 1, 8, 12), text_width=64,
           weights=("anima",), host_since=_NEW),
    _cosmos2,
    Family("sd3", "SD3", "SD3", _SD3, _IMAGE, text_width=64, blocks=2, extras=pooled(32), weights=("sd3",)),
    Family("auraflow", "AuraFlow", "AuraFlow",
           {"max_seq": 64, "cond_seq_dim": 64, "n_double_layers": 2, "n_layers": 4, "dim": 64, "n_heads": 2,
            "global_conddim": 64}, (4, 8, 12), text_width=64, weights=("aura",), host_since=_NEW),
    Family("pixart_alpha", "PixArt alpha", "PixArtAlpha",
           {**_PIXART, "image_model": "pixart_alpha", "micro_condition": True}, (4, 32, 48), text_width=64,
           extras=constant(width=96, height=64), host_since=_NEW),
    Family("pixart_sigma", "PixArt sigma", "PixArtSigma",
           {**_PIXART, "image_model": "pixart_sigma", "micro_condition": False}, (4, 32, 48), text_width=64,
           host_since=_NEW),
    Family("hunyuan_dit", "HunyuanDiT", "HunyuanDiT", _HYDIT, (4, 8, 12), text_width=32, host_since=_NEW,
           extras=given(conditioning_mt5xl=Normal((1, TOKENS, 48)), attention_mask=torch.ones(1, TOKENS),
                        attention_mask_mt5xl=torch.ones(1, TOKENS))),
    Family("hunyuan_image21", "HunyuanImage 2.1", "HunyuanImage21",
           {"image_model": "hunyuan_video", "in_channels": 64, "out_channels": 64, "patch_size": [1, 1],
            "vec_in_dim": None, "axes_dim": [64, 64], "context_in_dim": 64, "hidden_size": 128, "mlp_ratio": 4.0,
            "num_heads": 1, "depth": 2, "depth_single_blocks": 2, "theta": 256, "qkv_bias": True, "byt5": True,
            "meanflow": False, "guidance_embed": False, "use_cond_type_embedding": False, "vision_in_dim": None,
            "meanflow_sum": False}, (64, 4, 6), text_width=64, weights=("hunyuanimage2.1",), host_since=_NEW,
           extras=given(conditioning_byt5small=Normal((1, 4, 1472)))),
    _hidream,
    replace(_hidream, name="hidream_e1", title="HiDream-E1", weights=("hidream_e1",),
            extras=both(_hidream.extras, given(concat_latent_image=Normal((1, 16, 8, 12))))),
    Family("hidream_o1", "HiDream-O1", "HiDreamO1",
           {"image_model": "hidream_o1",
            "text_config_overrides": {"hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 3,
                                      "num_attention_heads": 1, "num_key_value_heads": 1},
            "vision_config_overrides": {"hidden_size": 64, "intermediate_size": 64, "num_heads": 2, "depth": 1}},
           (3, 64, 96), text_width=64, weights=("hidream_o1",), host_since=_NEW,
           extras=given(text_input_ids=torch.arange(TOKENS)[None])),
    _omnigen,
    Family("boogu", "Boogu", "Boogu",
           {**_OMNIGEN, "image_model": "boogu", "num_double_stream_layers": 2, "instruction_feat_dim": 64}, _IMAGE,
           text_width=64, extras=constant(attention_mask=_MASK), weights=("boogu",), host_since=_NEW),
    Family("mage_flow", "Mage-Flow", "MageFlow",
           {"image_model": "mage_flow", "in_channels": 128, "num_layers": 3, "num_attention_heads": 1}, (128, 4, 6),
           text_width=2560, weights=("mage_flow",), host_since=_NEW),
    Family("joyimage", "JoyAI-Image", "JoyImage",
           {"image_model": "joyimage", "hidden_size": 128, "num_attention_heads": 1, "text_dim": 64, "num_layers": 3},
           (16, 1, 8, 12), text_width=64, weights=("joyai_image",), host_since=_NEW),
    Family("ideogram4", "Ideogram 4", "Ideogram4",
           {"image_model": "ideogram4", "in_channels": 128, "num_layers": 3, "num_attention_heads": 1,
            "attention_head_dim": 256, "intermediate_size": 128, "adaln_dim": 64, "llm_features_dim": 64},
           (128, 4, 6), text_width=64, weights=("ideogram4",), host_since=_NEW),
    Family("lens", "Lens", "Lens",
           {"image_model": "lens", "num_layers": 3, "num_attention_heads": 1, "enc_hidden_dim": 32,
            "selected_layer_index": (0, 1)}, (128, 4, 6), text_width=64, weights=("lens",), host_since=_NEW),
    Family("ernie_image", "ERNIE-Image", "ErnieImage",
           {"image_model": "ernie", "hidden_size": 128, "num_attention_heads": 1, "num_layers": 3,
            "ffn_hidden_size": 128, "text_in_dim": 64}, (128, 4, 6), text_width=64, weights=("ernie-image",),
           host_since=_NEW),
    Family("kandinsky5_image", "Kandinsky 5 image", "Kandinsky5Image",
           {"image_model": "kandinsky5", "model_dim": 128, "in_text_dim": 64, "in_text_dim2": 32, "time_dim": 64,
            "ff_dim": 128, "visual_embed_dim": 64, "num_text_blocks": 1, "num_visual_blocks": 3,
            "axes_dims": (32, 48, 48), "rope_scale_factor": (1.0, 1.0, 1.0)}, (16, 1, 8, 12), text_width=64,
           extras=pooled(32), weights=("kandinsky5lite_t2i",), host_since=_NEW),
    Family("pixeldit", "PixelDiT", "PixelDiTT2I", {**_PIXELS, "image_model": "pixeldit_t2i"}, (3, 16, 24),
           text_width=64, saved=_pixeldit, weights=("pixeldit",), host_since=_NEW),
    Family("pid", "PiD", "PiD", {**_PIXELS, "image_model": "pid", "lq_latent_channels": 16, "lq_hidden_dim": 32,
                                 "lq_num_res_blocks": 1, "lq_interval": 2}, (3, 64, 96), text_width=64,
           extras=given(lq_latent=Normal((1, 16, 2, 3)), degrade_sigma=torch.zeros(1)), weights=("pid_",),
           host_since=_NEW),
]
