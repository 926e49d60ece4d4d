"""Wan 2.1 and 2.2."""

from __future__ import annotations

from tests.authoring.catalogue.parts import (
    LOAD,
    LOADERS,
    TO_VIDEO,
    about,
    budget,
    clip,
    decode,
    guided,
    ksampler,
    report,
    split_file,
    text,
    unet,
    vae,
    video,
)
from tests.authoring.catalogue.workflow import NEGATIVE, POSITIVE, Workflow

_WAN = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
WAN_TEXT = split_file("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", _WAN)
VISION = split_file("clip_vision_h.safetensors", "clip_vision", _WAN)
_WAN_VAE = split_file("wan_2.1_vae.safetensors", "vae", _WAN)
WAN_T2V = (split_file("wan2.1_t2v_1.3B_fp16.safetensors", "diffusion_models", _WAN), WAN_TEXT, _WAN_VAE)
# The negative prompt that Wan's authors recommend, in the language that they trained on.
WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"
    "三条腿，背景人很多，倒着走")
wan_loaders = {
    "unet": unet("wan2.1_t2v_1.3B_fp16.safetensors"),
    "clip": clip("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan"),
    "vae": vae("wan_2.1_vae.safetensors"),
}
wan_shift = "ModelSamplingSD3", {"model": ("unet", 0), "shift": 8.0}

wan_text_to_video = Workflow(
    name="Wan 2.1 text to video",
    template="text_to_video_wan",
    nodes={
        **wan_loaders, "shift": wan_shift,
        "positive": text("a paper boat drifts down a rain-soaked gutter, city lights reflected in the water"),
        "negative": text(WAN_NEGATIVE),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 832, "height": 480, "length": 33, "batch_size": 1}),
        "budget": budget(("shift", 0), 0.4),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=30, cfg=6.0,
                            sampler="uni_pc", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), **video(16.0),
    },
    groups=(
        ("Models", (*LOADERS, "shift")), ("Prompt and size", ("positive", "negative", "latent")),
        *TO_VIDEO),
    files=WAN_T2V,
    note=about(0.4, 30, "after ModelSamplingSD3, and after LoRAs when you add them",
               guided(6)),
    line="budget 0.4", evaluations=30, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)

wan_image_to_video = Workflow(
    name="Wan 2.1 image to video",
    template="image_to_video_wan",
    nodes={
        **wan_loaders, "unet": unet("wan2.1_i2v_480p_14B_fp16.safetensors"), "shift": wan_shift,
        "vision": ("CLIPVisionLoader", {"clip_name": "clip_vision_h.safetensors"}),
        "image": LOAD,
        "seen": ("CLIPVisionEncode", {"clip_vision": ("vision", 0), "image": ("image", 0), "crop": "none"}),
        "positive": text("the camera moves slowly forward, leaves drift past in the wind"),
        "negative": text(WAN_NEGATIVE),
        "start": ("WanImageToVideo", {
            "positive": ("positive", 0), "negative": ("negative", 0), "vae": ("vae", 0),
            "clip_vision_output": ("seen", 0), "start_image": ("image", 0), "width": 512, "height": 512, "length": 33,
            "batch_size": 1}),
        "budget": budget(("shift", 0), 0.4),
        "sampler": ksampler("budget", ("start", 0), ("start", 1), ("start", 2), steps=20, cfg=6.0,
                            sampler="uni_pc", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), **video(16.0),
    },
    groups=(
        ("Models", (*LOADERS, "vision", "shift")), ("First frame", ("image", "seen")),
        ("Prompt and size", ("positive", "negative", "start")), *TO_VIDEO),
    files=(split_file("wan2.1_i2v_480p_14B_fp16.safetensors", "diffusion_models", _WAN), WAN_TEXT, _WAN_VAE,
           VISION),
    note=about(0.4, 20, "after ModelSamplingSD3, and after LoRAs when you add them",
               guided(6)),
    line="budget 0.4", evaluations=20, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)


def _expert(model: tuple[str, int], latent: tuple[str, int], first: bool) -> tuple[str, dict]:
    return "KSamplerAdvanced", {
        "model": model, "positive": ("positive", 0), "negative": ("negative", 0), "latent_image": latent,
        "add_noise": "enable" if first else "disable", "noise_seed": 0, "steps": 20, "cfg": 3.5,
        "sampler_name": "euler", "scheduler": "simple", "start_at_step": 0 if first else 10,
        "end_at_step": 10 if first else 20, "return_with_leftover_noise": "enable" if first else "disable"}


wan22 = Workflow(
    name="Wan 2.2 14B text to video",
    template="video_wan2_2_14B_t2v",
    nodes={
        "high noise": unet("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors"),
        "low noise": unet("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"),
        "clip": wan_loaders["clip"], "vae": wan_loaders["vae"],
        "shift": ("ModelSamplingSD3", {"model": ("high noise", 0), "shift": 5.0}),
        "shift low": ("ModelSamplingSD3", {"model": ("low noise", 0), "shift": 5.0}),
        "positive": text("a lighthouse keeper climbs a spiral stair with a lamp, shadows turn on the walls"),
        "negative": text(WAN_NEGATIVE + "，裸露，NSFW"),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 640, "height": 640, "length": 81, "batch_size": 1}),
        "budget": ("ReCacheBudgetTwoModels", {"high_noise": ("shift", 0), "low_noise": ("shift low", 0), "budget": 0.4,
                                              "policy": "auto"}),
        "sampler": _expert(("budget", 0), ("latent", 0), True),
        "sampler low": _expert(("budget", 1), ("sampler", 0), False),
        "report": ("ReCacheReport", {"samples": ("sampler low", 0), "model": ("budget", 1)}),
        "decode": decode(("report", 0)), **video(16.0),
    },
    groups=(
        ("Models", ("models", "high noise", "low noise", "clip", "vae")),
        ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache, one budget over both experts", ("shift", "shift low", "budget", "note")),
        ("High noise, then low noise", ("sampler", "sampler low", "report")),
        ("Video", ("decode", "video", "save"))),
    files=(split_file("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "diffusion_models",
                 "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"),
           split_file("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", "diffusion_models",
                 "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"),
           WAN_TEXT, split_file("wan_2.1_vae.safetensors", "vae", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged")),
    note=about(0.4, 20, "after ModelSamplingSD3 and after LoRAs of both experts",
               "One budget holds over both samplers, and nothing cached passes from one expert to the other. Steps 0-9 "
               "are the high noise expert's, 10-19 the other one's; change them as you like, the node finds out.",
               "The first expert settles motion and composition. If motion suffers, raise the budget, or set the "
               "policy to list and write more of the first steps under evaluations, such as 0-4, 7, 10, 13, 16.",
               "With the 4-step LoRAs there is little left to skip: leave ReCache out then.",
               node="ReCache (Two Models)", samplers="samplers"),
    line="one budget over both experts", evaluations=20, budget=0.4,
    titles={"positive": POSITIVE, "negative": NEGATIVE, "sampler": "KSampler (Advanced), high noise",
            "sampler low": "KSampler (Advanced), low noise"},
    subgraph=True,
)
