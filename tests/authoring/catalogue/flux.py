"""FLUX.1 and FLUX.2."""

from __future__ import annotations

from tests.authoring.catalogue.parts import (
    LOAD,
    LOADERS,
    SAVE,
    TO_PICTURE,
    about,
    budget,
    clip,
    custom_sampler,
    decode,
    guided,
    ksampler,
    report,
    split_file,
    text,
    two_clips,
    unet,
    vae,
)
from tests.authoring.catalogue.workflow import NEGATIVE, POSITIVE, Workflow

_FLUX_VAE = split_file("ae.safetensors", "vae", "Comfy-Org/Lumina_Image_2.0_Repackaged")
CLIP_L = split_file("clip_l.safetensors", "text_encoders", "comfyanonymous/flux_text_encoders", "")
_T5 = split_file("t5xxl_fp16.safetensors", "text_encoders", "comfyanonymous/flux_text_encoders", "")
_T5_FP8 = split_file("t5xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", "comfyanonymous/flux_text_encoders", "")
FLUX = (split_file("flux1-dev.safetensors", "diffusion_models", "Comfy-Org/flux1-dev", ""), CLIP_L, _T5, _FLUX_VAE)
flux_loaders = {
    "unet": unet("flux1-dev.safetensors"),
    "clip": two_clips("clip_l.safetensors", "t5xxl_fp16.safetensors", "flux"),
    "vae": vae("ae.safetensors"),
}
FLUX_RUN = {"steps": 20, "cfg": 1.0, "sampler": "euler", "scheduler": "simple"}

flux_text_to_image = Workflow(
    name="FLUX.1-dev text to image",
    template="flux_dev_full_text_to_image",
    nodes={
        **flux_loaders,
        "positive": text("a red fox asleep on a mossy stone wall, morning light, 35mm photograph"),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": budget(("unet", 0), 0.5),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **FLUX_RUN),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompt and size", ("positive", "negative", "latent")), *TO_PICTURE),
    files=FLUX,
    note=about(0.5, 20, "after the loader, and after LoRAs and other model nodes when you add them"),
    line="budget 0.5", evaluations=20, budget=0.5,
    subgraph=True,
)

flux_image_to_image = Workflow(
    name="FLUX.1-dev image to image",
    template="",
    nodes={
        **flux_loaders,
        "image": LOAD,
        "scale": ("ImageScaleToTotalPixels", {
            "image": ("image", 0), "upscale_method": "lanczos", "megapixels": 1.0, "resolution_steps": 1}),
        "encode": ("VAEEncode", {"pixels": ("scale", 0), "vae": ("vae", 0)}),
        "positive": text("a watercolour painting, loose brush strokes, paper texture"),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "budget": budget(("unet", 0), 0.4),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("encode", 0), **FLUX_RUN, denoise=0.75),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Picture to start from", ("image", "scale", "encode")),
        ("Prompt", ("positive", "negative")), *TO_PICTURE),
    files=FLUX,
    note=about(0.4, 20, "after the loader, and after LoRAs and other model nodes when you add them",
               "KSampler makes all 20 steps at any denoise, on the less noisy part of the schedule: the plan is made "
               "for the noise levels of your run."),
    line="budget 0.4", evaluations=20, budget=0.4,
    subgraph=True,
)

flux_kontext = Workflow(
    name="FLUX.1 Kontext edit",
    template="flux_kontext_dev_basic",
    nodes={
        "unet": unet("flux1-dev-kontext_fp8_scaled.safetensors"),
        "clip": two_clips("clip_l.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors", "flux"),
        "vae": vae("ae.safetensors"),
        "image": LOAD,
        "stitch": ("ImageStitch", {
            "image1": ("image", 0), "direction": "right", "match_image_size": True, "spacing_width": 0,
            "spacing_color": "white"}),
        "scale": ("FluxKontextImageScale", {"image": ("stitch", 0)}),
        "encode": ("VAEEncode", {"pixels": ("scale", 0), "vae": ("vae", 0)}),
        "positive": text("make it a snowy winter night, keep the composition"),
        "reference": ("ReferenceLatent", {"conditioning": ("positive", 0), "latent": ("encode", 0)}),
        "guidance": ("FluxGuidance", {"conditioning": ("reference", 0), "guidance": 2.5}),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "budget": budget(("unet", 0), 0.5),
        "sampler": ksampler("budget", ("guidance", 0), ("negative", 0), ("encode", 0), **FLUX_RUN),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Picture to edit", ("image", "stitch", "scale", "encode")),
        ("Prompt", ("positive", "reference", "guidance", "negative")), *TO_PICTURE),
    files=(split_file("flux1-dev-kontext_fp8_scaled.safetensors", "diffusion_models",
                      "Comfy-Org/flux1-kontext-dev_ComfyUI"),
           CLIP_L, _T5_FP8, _FLUX_VAE),
    note=about(0.5, 20, "after the loader, and after LoRAs and other model nodes when you add them",
               "The reference picture doubles the tokens of every computed evaluation, so a cached one saves twice as "
               "much as in text to image. For a second picture, connect another Load Image to image2 of Image Stitch."),
    line="budget 0.5", evaluations=20, budget=0.5,
    subgraph=True,
)

_flux2_steps = {
    "width": ("PrimitiveInt", {"value": 1024}),
    "height": ("PrimitiveInt", {"value": 1024}),
    "latent": ("EmptyFlux2LatentImage", {"width": ("width", 0), "height": ("height", 0), "batch_size": 1}),
    "scheduler": ("Flux2Scheduler", {"steps": 20, "width": ("width", 0), "height": ("height", 0)}),
    "euler": ("KSamplerSelect", {"sampler_name": "euler"}),
    "noise": ("RandomNoise", {"noise_seed": 0}),
}
flux2 = Workflow(
    name="FLUX.2-dev text to image",
    template="image_flux2_text_to_image",
    nodes={
        "unet": unet("flux2_dev_fp8mixed.safetensors"),
        "clip": clip("mistral_3_small_flux2_bf16.safetensors", "flux2"),
        "vae": vae("full_encoder_small_decoder.safetensors"),
        "positive": text("a paper lantern festival on a canal at dusk, reflections in the water, long exposure"),
        "guidance": ("FluxGuidance", {"conditioning": ("positive", 0), "guidance": 4.0}),
        **_flux2_steps,
        "budget": budget(("unet", 0), 0.5),
        "guider": ("BasicGuider", {"model": ("budget", 0), "conditioning": ("guidance", 0)}),
        "sampler": custom_sampler(),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompt", ("positive", "guidance")),
        ("Size and steps", ("width", "height", "latent", "scheduler", "euler", "noise")),
        ("ReCache", ("budget", "guider", "note")), ("Sampling", ("sampler", "report")),
        ("Picture", ("decode", "save"))),
    files=(split_file("flux2_dev_fp8mixed.safetensors", "diffusion_models", "Comfy-Org/flux2-dev"),
           split_file("mistral_3_small_flux2_bf16.safetensors", "text_encoders", "Comfy-Org/flux2-dev"),
           split_file("full_encoder_small_decoder.safetensors", "vae", "black-forest-labs/FLUX.2-small-decoder", "")),
    note=about(0.5, 20, "here that is the guider, which hands the model to the sampler",
               "With the 8-step Turbo LoRA there is little left to skip: leave ReCache out then."),
    line="budget 0.5", evaluations=20, budget=0.5, titles={"width": "Width", "height": "Height"},
    subgraph=True,
)
flux2_klein = Workflow(
    name="FLUX.2 Klein text to image",
    template="image_flux2_klein_text_to_image",
    nodes={
        "unet": unet("flux-2-klein-base-4b.safetensors"),
        "clip": clip("qwen_3_4b.safetensors", "flux2"),
        "vae": vae("flux2-vae.safetensors"),
        "positive": text("a tin robot waters tomatoes on a balcony, golden hour, shot on film"),
        "negative": text(""),
        **_flux2_steps,
        "budget": budget(("unet", 0), 0.5),
        "guider": ("CFGGuider", {"model": ("budget", 0), "positive": ("positive", 0), "negative": ("negative", 0),
                                 "cfg": 5.0}),
        "sampler": custom_sampler(),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompt", ("positive", "negative")),
        ("Size and steps", ("width", "height", "latent", "scheduler", "euler", "noise")),
        ("ReCache", ("budget", "guider", "note")), ("Sampling", ("sampler", "report")),
        ("Picture", ("decode", "save"))),
    files=(split_file("flux-2-klein-base-4b.safetensors", "diffusion_models", "Comfy-Org/flux2-klein"),
           split_file("qwen_3_4b.safetensors", "text_encoders", "Comfy-Org/flux2-klein"),
           split_file("flux2-vae.safetensors", "vae", "Comfy-Org/flux2-dev")),
    note=about(0.5, 20, "here that is the guider, which hands the model to the sampler",
               guided(5),
               "This is the base model. The distilled Klein takes 4 steps, and there is little left to skip."),
    line="budget 0.5", evaluations=20, budget=0.5,
    titles={"positive": POSITIVE, "negative": NEGATIVE, "width": "Width", "height": "Height"},
    subgraph=True,
)
