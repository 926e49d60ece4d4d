"""Models that edit a picture, other than FLUX."""

from __future__ import annotations

from tests.authoring.catalogue.parts import (
    LOAD,
    LOADERS,
    RECACHE,
    SAVE,
    TO_PICTURE,
    about,
    budget,
    clip,
    decode,
    file_in_folder,
    guided,
    ksampler,
    report,
    split_file,
    text,
    unet,
    vae,
)
from tests.authoring.catalogue.wan import WAN_NEGATIVE, WAN_TEXT, wan_loaders
from tests.authoring.catalogue.workflow import NEGATIVE, POSITIVE, Workflow


def _instruction(prompt: str) -> tuple[str, dict]:
    return "TextEncodeQwenImageEditPlus", {
        "clip": ("clip", 0), "vae": ("vae", 0), "image1": ("scale", 0), "prompt": prompt}


def _reference(conditioning: str) -> tuple[str, dict]:
    return "FluxKontextMultiReferenceLatentMethod", {
        "conditioning": (conditioning, 0), "reference_latents_method": "index_timestep_zero"}


qwen = Workflow(
    name="Qwen-Image-Edit",
    template="image_qwen_image_edit_2511",
    nodes={
        "unet": unet("qwen_image_edit_2511_fp8mixed.safetensors"),
        "clip": clip("qwen_2.5_vl_7b_fp8_scaled.safetensors", "qwen_image"),
        "vae": vae("qwen_image_vae.safetensors"),
        "shift": ("ModelSamplingAuraFlow", {"model": ("unet", 0), "shift": 3.1}),
        "norm": ("CFGNorm", {"model": ("shift", 0), "strength": 1.0}),
        "image": LOAD,
        "scale": ("FluxKontextImageScale", {"image": ("image", 0)}),
        "encode": ("VAEEncode", {"pixels": ("scale", 0), "vae": ("vae", 0)}),
        "positive": _instruction("make it a snowy winter night, keep the composition"), "negative": _instruction(""),
        "reference": _reference("positive"), "negative reference": _reference("negative"),
        "budget": budget(("norm", 0), 0.38),
        "sampler": ksampler("budget", ("reference", 0), ("negative reference", 0), ("encode", 0), steps=40, cfg=4.0,
                            sampler="euler", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", (*LOADERS, "shift", "norm")), ("Picture to edit", ("image", "scale", "encode")),
        ("Prompt", ("positive", "negative")), ("Reference", ("reference", "negative reference")),
        *TO_PICTURE),
    files=(split_file("qwen_image_edit_2511_fp8mixed.safetensors", "diffusion_models",
                      "Comfy-Org/Qwen-Image-Edit_ComfyUI"),
           split_file("qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders",
                      "Comfy-Org/HunyuanVideo_1.5_repackaged"),
           split_file("qwen_image_vae.safetensors", "vae", "Comfy-Org/Qwen-Image_ComfyUI")),
    note=about(0.38, 40, "after CFGNorm, and after LoRAs when you add them",
               "With guidance (cfg 4) every evaluation runs the network twice, over the picture to edit too, and a "
               "cached one skips all of it.",
               "For a second picture, open the node and connect it to image2 of both text encoders. With the 4-step "
               "Lightning LoRA there is little left to skip: leave ReCache out then."),
    line="budget 0.38", evaluations=40, budget=0.38,
    titles={"positive": "Instruction", "negative": "Negative instruction"},
    subgraph=True,
)


def _half(model: tuple[str, int], sigmas: int, latent: tuple[str, int]) -> tuple[str, dict]:
    return "SamplerCustom", {
        "model": model, "add_noise": sigmas == 0, "noise_seed": 0, "cfg": 5.0, "positive": ("source", 0),
        "negative": ("source", 1), "sampler": ("multistep", 0), "sigmas": ("split", sigmas), "latent_image": latent}


bernini = Workflow(
    name="Bernini-R image edit",
    template="video_bernini_r_image_editing",
    nodes={
        "high": unet("wan2.2_bernini_r_high_noise_fp8_scaled.safetensors"),
        "low": unet("wan2.2_bernini_r_low_noise_fp8_scaled.safetensors"),
        "clip": wan_loaders["clip"], "vae": vae("Wan2_1_VAE_bf16.safetensors"),
        "image": LOAD,
        "scale": ("ResizeImageMaskNode", {
            "input": ("image", 0), "resize_type": "scale longer dimension", "resize_type.longer_size": 1280,
            "scale_method": "area"}),
        "size": ("GetImageSize", {"image": ("scale", 0)}),
        # The first sentence tells the model what to do; its authors wrote one for every task.
        "positive": text("You are a helpful assistant specialized in image editing. Make it a snowy winter night, keep "
                         "the composition."),
        "negative": text(WAN_NEGATIVE),
        "source": ("BerniniConditioning", {
            "positive": ("positive", 0), "negative": ("negative", 0), "vae": ("vae", 0), "width": ("size", 0),
            "height": ("size", 1), "length": 1, "batch_size": 1, "source_video": ("scale", 0), "ref_max_size": 848}),
        "scheduler": ("BasicScheduler", {
            "model": ("low", 0), "scheduler": "simple", "steps": 40, "denoise": 1.0}),
        "split": ("SplitSigmas", {"sigmas": ("scheduler", 0), "step": 20}),
        "multistep": ("KSamplerSelect", {"sampler_name": "res_multistep"}),
        "budget": ("ReCacheBudgetTwoModels", {"high_noise": ("high", 0), "low_noise": ("low", 0),
                                              "budget": 0.38, "policy": "auto"}),
        "sampler": _half(("budget", 0), 0, ("source", 2)),
        "sampler low": _half(("budget", 1), 1, ("sampler", 0)),
        "report": ("ReCacheReport", {"samples": ("sampler low", 0), "model": ("budget", 1)}),
        "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", ("models", "high", "low", "clip", "vae")),
        ("Picture to edit", ("image", "scale", "size")),
        ("Prompt", ("positive", "negative")), ("Steps", ("source", "scheduler", "split", "multistep")),
        ("ReCache, one budget over both experts", RECACHE),
        ("High noise, then low noise", ("sampler", "sampler low", "report")), ("Picture", ("decode", "save"))),
    files=(file_in_folder("wan2.2_bernini_r_high_noise_fp8_scaled.safetensors", "diffusion_models",
                          "Comfy-Org/Bernini-R"),
           file_in_folder("wan2.2_bernini_r_low_noise_fp8_scaled.safetensors", "diffusion_models",
                          "Comfy-Org/Bernini-R"),
           WAN_TEXT, split_file("Wan2_1_VAE_bf16.safetensors", "vae", "Kijai/WanVideo_comfy", "")),
    note=about(0.38, 40, "after the loaders, and after LoRAs of both experts",
               "One budget holds over both samplers, and nothing cached passes from one expert to the other. Steps "
               "0-19 are the high noise expert's, 20-39 the other one's.",
               guided(5),
               "ComfyUI's template begins with a LoRA for 6 steps, where there is little left to skip; these are the "
               "40 steps that it takes without.",
               node="ReCache (Two Models)", samplers="samplers"),
    line="one budget over both experts", evaluations=40, budget=0.38,
    titles={"positive": POSITIVE, "negative": NEGATIVE, "sampler": "SamplerCustom, high noise",
            "sampler low": "SamplerCustom, low noise"},
    inside=("source",),
    subgraph=True,
)
