"""Other models that make pictures."""

from __future__ import annotations

from tests.authoring.catalogue.parts import (
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
from tests.authoring.catalogue.workflow import NEGATIVE, POSITIVE, Workflow

qwen = Workflow(
    name="Qwen-Image text to image",
    template="image_qwen_Image_2512",
    nodes={
        "unet": unet("qwen_image_2512_fp8_e4m3fn.safetensors"),
        "clip": clip("qwen_2.5_vl_7b_fp8_scaled.safetensors", "qwen_image"),
        "vae": vae("qwen_image_vae.safetensors"),
        "shift": ("ModelSamplingAuraFlow", {"model": ("unet", 0), "shift": 3.1}),
        "positive": text('a bookshop window at night, a hand-painted sign that reads "OPEN LATE", rain on the glass'),
        "negative": text("low resolution, deformed hands, oversaturated, waxy skin, blurred or distorted text"),
        "latent": ("EmptySD3LatentImage", {"width": 1328, "height": 1328, "batch_size": 1}),
        "budget": budget(("shift", 0), 0.3),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=50, cfg=4.0,
                            sampler="euler", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", (*LOADERS, "shift")), ("Prompt and size", ("positive", "negative", "latent")),
        *TO_PICTURE),
    files=(split_file("qwen_image_2512_fp8_e4m3fn.safetensors", "diffusion_models", "Comfy-Org/Qwen-Image_ComfyUI"),
           split_file("qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders", "Comfy-Org/Qwen-Image_ComfyUI"),
           split_file("qwen_image_vae.safetensors", "vae", "Comfy-Org/Qwen-Image_ComfyUI")),
    note=about(0.3, 50, "after ModelSamplingAuraFlow, and after LoRAs when you add them",
               guided(4),
               "The first Qwen-Image works in the same way: choose its file in the loader. With a 4- or 8-step "
               "Lightning LoRA there is little left to skip: leave ReCache out then."),
    line="budget 0.3", evaluations=50, budget=0.3, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)

z_image = Workflow(
    name="Z-Image text to image",
    template="image_z_image",
    nodes={
        "unet": unet("z_image_bf16.safetensors"),
        "clip": clip("qwen_3_4b.safetensors", "lumina2"),
        "vae": vae("ae.safetensors"),
        "shift": ("ModelSamplingAuraFlow", {"model": ("unet", 0), "shift": 3.0}),
        "positive": text("a potter's hands shaping a bowl on a spinning wheel, window light, shallow depth of field"),
        "negative": text(""),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": budget(("shift", 0), 0.4),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=25, cfg=4.0,
                            sampler="res_multistep", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", (*LOADERS, "shift")), ("Prompt and size", ("positive", "negative", "latent")),
        *TO_PICTURE),
    files=(split_file("z_image_bf16.safetensors", "diffusion_models", "Comfy-Org/z_image"),
           split_file("qwen_3_4b.safetensors", "text_encoders", "Comfy-Org/z_image_turbo"),
           split_file("ae.safetensors", "vae", "Comfy-Org/z_image_turbo")),
    note=about(0.4, 25, "after ModelSamplingAuraFlow, and after LoRAs when you add them",
               guided(4),
               "This is Z-Image, not Z-Image-Turbo: Turbo takes 8 steps, and there is little left to skip."),
    line="budget 0.4", evaluations=25, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)

krea2 = Workflow(
    name="Krea 2 Turbo text to image",
    template="image_krea2_turbo_t2i",
    nodes={
        "unet": unet("krea2_turbo_fp8_scaled.safetensors"),
        "clip": clip("qwen3vl_4b_fp8_scaled.safetensors", "krea2"),
        "vae": vae("qwen_image_vae.safetensors"),
        "positive": text("a lighthouse made of folded paper on a cliff of books, soft studio light, muted colours"),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": budget(("unet", 0), 0.75),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=8, cfg=1.0,
                            sampler="euler", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompt and size", ("positive", "negative", "latent")), *TO_PICTURE),
    files=(file_in_folder("krea2_turbo_fp8_scaled.safetensors", "diffusion_models", "Comfy-Org/Krea-2"),
           file_in_folder("qwen3vl_4b_fp8_scaled.safetensors", "text_encoders", "Comfy-Org/Krea-2"),
           file_in_folder("qwen_image_vae.safetensors", "vae", "Comfy-Org/Krea-2")),
    note=about(0.75, 8, "after the loader, and after LoRAs when you add them",
               "Turbo takes 8 steps. With so few, a step or two can be saved before the picture becomes another one: "
               "the bar on the node says how close it will come."),
    line="budget 0.75 of 8 steps", evaluations=8, budget=0.75,
    subgraph=True,
)
_ANIMA = "circlestone-labs/Anima"
anima = Workflow(
    name="Anima text to image",
    template="image_anima_base_v1",
    nodes={
        "unet": unet("anima-base-v1.0.safetensors"),
        "clip": clip("qwen_3_06b_base.safetensors", "stable_diffusion"),
        "vae": vae("qwen_image_vae.safetensors"),
        "positive": text("masterpiece, best quality, a girl in a yellow raincoat feeds gulls on a pier, her umbrella "
                         "turned inside out by the wind, grey sea, watercolour shading"),
        "negative": text("worst quality, low quality, blurry, jpeg artifacts"),
        "latent": ("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": budget(("unet", 0), 0.4),
        "sampler": ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=30, cfg=4.0,
                            sampler="euler", scheduler="simple"),
        "report": report("sampler"), "decode": decode(("report", 0)), "save": SAVE,
    },
    groups=(
        ("Models", LOADERS), ("Prompt and size", ("positive", "negative", "latent")), *TO_PICTURE),
    files=(split_file("anima-base-v1.0.safetensors", "diffusion_models", _ANIMA),
           split_file("qwen_3_06b_base.safetensors", "text_encoders", _ANIMA),
           split_file("qwen_image_vae.safetensors", "vae", _ANIMA)),
    note=about(0.4, 30, "after the loader, and after LoRAs when you add them",
               guided(4),
               "With the 8-step Turbo LoRA there is little left to skip: leave ReCache out then."),
    line="budget 0.4", evaluations=30, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)


def _sdxl_sampler(model: tuple, prompts: str, latent: tuple[str, int], first: bool) -> tuple[str, dict]:
    return "KSamplerAdvanced", {
        "model": model, "positive": (f"positive{prompts}", 0), "negative": (f"negative{prompts}", 0),
        "latent_image": latent, "add_noise": "enable" if first else "disable", "noise_seed": 0, "steps": 25, "cfg": 8.0,
        "sampler_name": "euler", "scheduler": "normal", "start_at_step": 0 if first else 20,
        "end_at_step": 20 if first else 10000, "return_with_leftover_noise": "enable" if first else "disable"}


_SDXL_PROMPT = "a glass bottle with a tiny thunderstorm inside, on a windowsill, evening light"
sdxl = Workflow(
    name="SDXL text to image",
    template="sdxl_simple_example",
    nodes={
        "base": ("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_base_1.0.safetensors"}),
        "refiner": ("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_refiner_1.0.safetensors"}),
        "positive": text(_SDXL_PROMPT, ("base", 1)),
        "negative": text("text, watermark", ("base", 1)),
        "positive refiner": text(_SDXL_PROMPT, ("refiner", 1)),
        "negative refiner": text("text, watermark", ("refiner", 1)),
        "latent": ("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": budget(("base", 0), 0.4),
        "sampler": _sdxl_sampler(("budget", 0), "", ("latent", 0), True),
        "report": report("sampler"),
        "sampler refiner": _sdxl_sampler(("refiner", 0), " refiner", ("report", 0), False),
        "decode": decode(("sampler refiner", 0), ("refiner", 2)), "save": SAVE,
    },
    groups=(
        ("Models and size", ("models", "base", "refiner", "latent")), ("Prompt for the base", ("positive", "negative")),
        ("Prompt for the refiner", ("positive refiner", "negative refiner")), ("ReCache", RECACHE),
        ("Base", ("sampler", "report")), ("Refiner and picture", ("sampler refiner", "decode", "save"))),
    files=(split_file("sd_xl_base_1.0.safetensors", "checkpoints", "stabilityai/stable-diffusion-xl-base-1.0", ""),
           split_file("sd_xl_refiner_1.0.safetensors", "checkpoints", "stabilityai/stable-diffusion-xl-refiner-1.0",
                      "")),
    note=about(0.4, 20, "after the checkpoint loader, and after LoRAs and other model nodes when you add them",
               "The base makes 20 of the 25 steps, and its evaluations are what the budget counts. The refiner's 5 "
               "are left whole: there is little to skip in 5.",
               "With guidance (cfg 8) forecasts are harder: below a budget of 0.2, compare with fewer steps."),
    line="budget 0.4 on the base, the refiner whole", evaluations=20, budget=0.4,
    titles={"base": "Load Checkpoint (base)", "refiner": "Load Checkpoint (refiner)",
            "positive": f"{POSITIVE}", "negative": f"{NEGATIVE}", "positive refiner": POSITIVE,
            "negative refiner": NEGATIVE, "sampler": "KSampler (Advanced), base",
            "sampler refiner": "KSampler (Advanced), refiner"},
    subgraph=True,
)
