"""Tiny models of the families that make video, some of them with sound."""

from __future__ import annotations

from dataclasses import replace

import torch

from tests.tiny.conditioning import Normal, both, constant, control_video, first_frame, given, pooled, seen_frame
from tests.tiny.family import TOKENS, Family

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
_LTXV = {"image_model": "ltxv", "num_layers": 3, "attention_head_dim": 4, "cross_attention_dim": 128}  # 32 heads
_HUNYUAN_VIDEO15 = {
    **_HUNYUAN_VIDEO,
    "in_channels": 65,
    "out_channels": 32,
    "vec_in_dim": None,
    "byt5": True,
    "guidance_embed": False,
    "use_cond_type_embedding": True,
    "vision_in_dim": 1152,
    "meanflow_sum": True,
}
_COSMOS = {
    "image_model": "cosmos",
    "in_channels": 16,
    "model_channels": 128,
    "num_blocks": 3,
    "num_heads": 1,
    "crossattn_emb_channels": 64,
    "adaln_lora_dim": 16,
    "max_img_h": 240,
    "max_img_w": 240,
    "max_frames": 128,
    "out_channels": 16,
    "patch_spatial": 2,
    "patch_temporal": 1,
    "pos_emb_cls": "rope3d",
    "use_adaln_lora": True,
    "extra_per_block_abs_pos_emb": True,
    "extra_per_block_abs_pos_emb_type": "learnable",
}
_COGVIDEO = {
    "image_model": "cogvideox",
    "num_attention_heads": 1,
    "attention_head_dim": 64,
    "in_channels": 16,
    "out_channels": 16,
    "time_embed_dim": 64,
    "text_embed_dim": 64,
    "num_layers": 3,
    "use_rotary_positional_embeddings": True,
}
_VIDEO = (16, 3, 4, 6)
_NEW = "0.30.0"  # not tried on older releases
_MASK = torch.ones(1, TOKENS, dtype=torch.long)

_wan = Family("wan21_t2v", "Wan 2.1 text to video", "WAN21_T2V", _WAN, _VIDEO, text_width=4096, blocks=3,
              weights=("wan2.1_t2v", "chrono_edit"))


def _of_wan(name: str, title: str, config: str, **changes) -> Family:
    """Another model with Wan's blocks; `changes` of its arguments, and of the fields of Family in lower layers."""
    fields = {key: changes.pop(key) for key in ("extras", "weights", "told", "latent_shape") if key in changes}
    return replace(_wan, name=name, title=title, config=config, unet_config={**_WAN, **changes}, host_since=_NEW,
                   blocks=0, **({"weights": ()} | fields))


_i2v = replace(_wan, name="wan21_i2v", title="Wan 2.1 image to video", config="WAN21_I2V",
               unet_config={**_WAN, "model_type": "i2v", "in_dim": 36}, extras=first_frame,
               weights=("wan2.1_i2v", "wan2.1_flf2v", "wan2.1_fun_inp", "Wan21-WanMove", "Wan2_1-I2V"))
_hunyuan = Family("hunyuan_video", "HunyuanVideo", "HunyuanVideo", _HUNYUAN_VIDEO, _VIDEO, text_width=64, blocks=4,
                  extras=pooled(768, guidance=6.0), weights=("hunyuan_video", "capybara"))
_hunyuan15 = Family("hunyuan_video15", "HunyuanVideo 1.5", "HunyuanVideo15", _HUNYUAN_VIDEO15, (32, 3, 4, 6),
                    text_width=64, weights=("hunyuanvideo1.5_720p",), host_since=_NEW,
                    extras=given(conditioning_byt5small=Normal((1, 4, 1472))))
_cosmos = Family("cosmos", "Cosmos text to video", "CosmosT2V", _COSMOS, _VIDEO, text_width=64, host_since=_NEW,
                 weights=("Cosmos-1_0",))
_cogvideo = Family("cogvideox", "CogVideoX", "CogVideoX_T2V", _COGVIDEO, _VIDEO, text_width=64, host_since=_NEW)

VIDEOS = [
    Family("minimax_h3", "MiniMax H3", "MiniMaxH3",
           {"image_model": "minimax_h3", "num_layers": 3, "token_refiner_num_layers": 1, "hidden_size": 64,
            "latents_dim": 24, "audio_latents_dim": 32, "attention_head_dim": 32, "num_attention_heads": 2,
            "ffn_hidden_size": 64, "text_dim": 48, "timestep_input_dim": 64, "time_embed_hidden_size": 32,
            "time_embed_dim": 32, "rope_inv_freq_len": 4}, ((24, 3, 4, 6), (32, 2, 10)), text_width=48,
           blocks=3, weights=("minimax_h3",), batches=False, host_since=_NEW),
    Family("ltxav", "LTX-2", "LTXAV",
           {"image_model": "ltxav", "num_layers": 3, "attention_head_dim": 4, "cross_attention_dim": 128,
            "audio_attention_head_dim": 2, "audio_cross_attention_dim": 64, "caption_channels": 64,
            "connector_attention_head_dim": 16, "connector_num_attention_heads": 4, "connector_num_layers": 1},
           ((128, 3, 4, 6), (8, 10, 16)), text_width=64, blocks=3, extras=constant(frame_rate=25),
           weights=("ltx-2-",), host_since=_NEW),
    Family("ltxav23", "LTX-2.3", "LTXAV",
           {"image_model": "ltxav", "num_layers": 3, "attention_head_dim": 4, "cross_attention_dim": 128,
            "audio_attention_head_dim": 2, "audio_cross_attention_dim": 64, "caption_channels": 64,
            "connector_attention_head_dim": 32, "connector_num_attention_heads": 4,
            "audio_connector_attention_head_dim": 16, "connector_num_layers": 1, "apply_gated_attention": True,
            "caption_proj_before_connector": True, "cross_attention_adaln": True},
           ((128, 3, 4, 6), (8, 10, 16)), text_width=64, extras=constant(frame_rate=25),
           weights=("ltx-2.3",), host_since=_NEW),
    Family("ltxv", "LTX-Video", "LTXV", _LTXV, (128, 3, 4, 6), text_width=4096, blocks=3,
           extras=constant(frame_rate=25, attention_mask=_MASK), weights=("ltx-video",)),
    _wan,
    _i2v,
    replace(_wan, name="wan21_vace", title="Wan 2.1 VACE", config="WAN21_Vace",
            unet_config={**_WAN, "model_type": "vace", "num_layers": 4, "vace_layers": 2, "vace_in_dim": 96}, blocks=4,
            extras=control_video, weights=("wan2.1_vace",)),
    replace(_wan, name="wan22_14b", title="Wan 2.2 14B (two experts)", experts=("_high_noise", "_low_noise"),
            weights=("wan2.2_t2v", "wan2.2_i2v", "wan2.2_fun_inpaint")),
    replace(_wan, name="wan22_5b", title="Wan 2.2 5B", config="WAN22_T2V",
            unet_config={**_WAN, "in_dim": 48, "out_dim": 48}, latent_shape=(48, 3, 4, 6), weights=("wan2.2_ti2v",)),
    _of_wan("wan21_causal", "Wan 2.1 causal", "WAN21_CausalAR_T2V", told={"causal_ar": True},
            weights=("causal_forcing",)),
    _of_wan("wan21_fun_control", "Wan Fun Control", "WAN21_FunControl2V", model_type="i2v", in_dim=48, extras=both(
        first_frame, given(concat_latent_image=Normal((1, 32, 3, 4, 6)))),
            weights=("wan2.1_fun_control", "wan2.2_fun_control")),
    _of_wan("wan21_camera", "Wan 2.1 Camera", "WAN21_Camera", model_type="camera", in_dim=32, extras=both(
        first_frame, given(camera_conditions=Normal((1, 24, 3, 32, 48)))), weights=("wan2.1_fun_camera",)),
    _of_wan("wan22_camera", "Wan 2.2 Camera", "WAN22_Camera", model_type="camera_2.2", in_dim=36, extras=given(
        camera_conditions=Normal((1, 24, 3, 32, 48))), weights=("wan2.2_fun_camera",)),
    _of_wan("wan22_s2v", "Wan 2.2 S2V", "WAN22_S2V", model_type="s2v", audio_dim=32, audio_inject_layers=[0, 2],
            extras=given(reference_latents=[Normal((1, 16, 1, 4, 6))], audio_embed=Normal((1, 25, 32, 12))),
            weights=("wan2.2_s2v",)),
    _of_wan("wan21_humo", "HuMo", "WAN21_HuMo", model_type="humo", in_dim=36, extras=given(
        reference_latents=[Normal((1, 16, 1, 4, 6))], audio_embed=Normal((1, 3, 8, 5, 1280))), weights=("humo",)),
    _of_wan("wan22_animate", "Wan 2.2 Animate with a pose", "WAN22_Animate", model_type="animate", in_dim=36,
            num_layers=5, extras=both(first_frame, given(pose_video_latent=Normal((1, 16, 2, 4, 6)))),
            weights=("Wan2_2-Animate", "wan2.2_animate")),
    _of_wan("wan21_flow_rvs", "FlowRVS", "WAN21_FlowRVS", told={"model_type": "flow_rvs"}),
    _of_wan("wan21_scail", "SCAIL", "WAN21_SCAIL", model_type="scail", in_dim=20, extras=both(seen_frame, given(
        reference_latents=[Normal((1, 16, 1, 4, 6))], pose_video_latent=Normal((1, 16, 3, 2, 3)))),
            weights=("wan2.1_14B_SCAIL_preview",)),
    _of_wan("wan21_scail2", "SCAIL-2", "WAN21_SCAIL2", model_type="scail2", in_dim=20, extras=both(seen_frame, given(
        reference_latents=[Normal((1, 16, 1, 4, 6))], pose_video_latent=Normal((1, 16, 3, 2, 4)),
        driving_mask_28ch=Normal((1, 3, 28, 2, 4)), ref_mask_28ch=Normal((1, 4, 28, 4, 6)), ref_mask_flag=True)),
            weights=("wan2.1_14B_SCAIL_2",)),
    _of_wan("wan22_dancer", "WanDancer", "WAN22_WanDancer", model_type="wandancer", in_dim=36, extras=both(
        first_frame, given(audio_embed=Normal((1, 12, 35)), fps=30, audio_inject_scale=1.0)),
            audio_inject_layers=[0, 2], music_dim=32, music_heads=1, music_latent_dim=32, latent_shape=(16, 3, 4, 8),
            weights=("wan2.2_dancer",)),
    _of_wan("wan22_bernini", "Bernini-R", "WAN21_T2V", extras=given(context_latents=[Normal((1, 16, 1, 4, 6))]),
            weights=("wan2.2_bernini",)),
    _hunyuan,
    replace(_hunyuan, name="hunyuan_video_i2v", title="HunyuanVideo image to video", config="HunyuanVideoI2V",
            unet_config={**_HUNYUAN_VIDEO, "in_channels": 33}, weights=("hunyuan_video_image",), host_since=_NEW),
    replace(_hunyuan, name="skyreels_i2v", title="SkyReels image to video", config="HunyuanVideoSkyreelsI2V",
            unet_config={**_HUNYUAN_VIDEO, "in_channels": 32}, weights=("skyreels",), host_since=_NEW),
    _hunyuan15,
    replace(_hunyuan15, name="hunyuan_video15_sr", title="HunyuanVideo 1.5 super-resolution",
            config="HunyuanVideo15_SR_Distilled", unet_config={**_HUNYUAN_VIDEO15, "in_channels": 98},
            weights=("hunyuanvideo1.5_1080p_sr",)),
    replace(_hunyuan15, name="hunyuan_image21_refiner", title="HunyuanImage 2.1 refiner",
            config="HunyuanImage21Refiner",
            unet_config={**_HUNYUAN_VIDEO, "in_channels": 128, "out_channels": 64, "patch_size": [1, 1, 1],
                         "vec_in_dim": None, "guidance_embed": False},
            latent_shape=(64, 2, 4, 6), weights=("hunyuanimage2.1_refiner",)),
    _cosmos,
    replace(_cosmos, name="cosmos_i2v", title="Cosmos image to video", config="CosmosI2V",
            unet_config={**_COSMOS, "in_channels": 17}, weights=()),
    Family("cosmos_predict2_i2v", "Cosmos Predict2 image to video", "CosmosI2VPredict2",
           {**{name: value for name, value in _COSMOS.items() if not name.endswith("emb_type")},
            "image_model": "cosmos_predict2", "in_channels": 17, "extra_per_block_abs_pos_emb": False}, _VIDEO,
           text_width=64, host_since=_NEW),
    Family("mochi", "Mochi", "GenmoMochi",
           {"image_model": "mochi_preview", "depth": 3, "num_heads": 1, "hidden_size_x": 128, "hidden_size_y": 64,
            "mlp_ratio_x": 96.0, "t5_feat_dim": 64, "in_channels": 12, "qk_norm": True, "qkv_bias": False,
            "use_t5": True, "learn_sigma": False}, (12, 3, 4, 6), text_width=64,
           extras=constant(attention_mask=_MASK), weights=("mochi",), host_since=_NEW),
    Family("kandinsky5", "Kandinsky 5 video", "Kandinsky5",
           {"image_model": "kandinsky5", "model_dim": 64, "in_text_dim": 64, "in_text_dim2": 32, "time_dim": 64,
            "ff_dim": 128, "visual_embed_dim": 132, "num_text_blocks": 1, "num_visual_blocks": 3,
            "axes_dims": (16, 24, 24)}, _VIDEO, text_width=64, extras=pooled(32), weights=("kandinsky5lite_",),
           host_since=_NEW),
    _cogvideo,
    replace(_cogvideo, name="cogvideox_i2v", title="CogVideoX image to video", config="CogVideoX_I2V",
            unet_config={**_COGVIDEO, "in_channels": 32}),
    replace(_cogvideo, name="cogvideox_inpaint", title="CogVideoX inpaint", config="CogVideoX_Inpaint",
            unet_config={**_COGVIDEO, "in_channels": 48}, weights=("void_",)),
    Family("seedvr2", "SeedVR2", "SeedVR2",
           {"image_model": "seedvr2", "vid_dim": 64, "heads": 1, "head_dim": 128, "num_layers": 32, "mm_layers": 10,
            "norm_eps": 1e-5, "mlp_type": "swiglu", "vid_out_norm": True, "expand_ratio": 1}, _VIDEO, text_width=5120,
           extras=given(condition=Normal((1, 17, 3, 4, 6))), weights=("seedvr2",), host_since=_NEW),
]
