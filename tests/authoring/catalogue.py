"""What the shipped workflows are: nodes, settings, model files, notes and how they are grouped.

Nodes and settings are those of ComfyUI's own template of each model (`Workflow.template`), with ReCache put in; prompts
are ours. A template's switch for a few-step LoRA, which is off by default, is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recache.policies.budget import computed_for_budget, planned_speedup

HUB = "https://huggingface.co/"
POSITIVE, NEGATIVE = "CLIP Text Encode (Positive Prompt)", "CLIP Text Encode (Negative Prompt)"

Nodes = Mapping[str, tuple[str, Mapping[str, Any]]]

_OUTSIDE = ("LoadImage", "SaveImage", "SaveVideo")
# Widgets that a subgraph's node shows, from top to bottom; "value" is a number's.
_PROMOTED = ("text", "prompt", "value", "width", "height", "length", "seed", "noise_seed", "steps", "budget", "cfg",
             "guidance", "denoise", "ckpt_name", "unet_name", "clip_name", "clip_name1", "clip_name2", "vae_name")


def _label(key: str, widget: str) -> str:
    if widget == "text":
        return "negative prompt" if key.startswith("negative") else "prompt"
    return key if widget == "value" else {"noise_seed": "seed"}.get(widget, widget)


@dataclass(frozen=True)
class File:
    """A model file: its name, its folder in ComfyUI's models folder, and where it is downloaded."""

    name: str
    directory: str
    url: str


@dataclass(frozen=True)
class Workflow:
    """One file of workflows/.

    Attributes:
        name: the stem of the file, which is the title under Templates.
        template: ComfyUI's own template that the nodes and settings are from; "" if there is none.
        nodes: key -> (node type, inputs); an input that is a tuple is a link: (key, number of the output).
        groups: what a column is about, and its nodes from top to bottom; notes are named "note" and "models".
        files: the model files that the loaders name.
        note: what the note says about ReCache, in Markdown.
        line: what the thumbnail says under the name.
        evaluations: of the run that the thumbnail shows.
        budget: of that run.
        titles: of nodes that are not called as their type is.
        subgraph: whether all but what is loaded and saved lies in one subgraph, as in ComfyUI's own templates.
    """

    name: str
    template: str
    nodes: Nodes
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    files: tuple[File, ...]
    note: str
    line: str
    evaluations: int
    budget: float
    titles: Mapping[str, str] = field(default_factory=dict)
    subgraph: bool = False

    @property
    def outside(self) -> tuple[str, ...]:
        """The nodes outside the subgraph."""
        return tuple(key for key, (kind, _) in self.nodes.items() if kind in _OUTSIDE) if self.subgraph else ()

    @property
    def promoted(self) -> dict[str, list[tuple[str, str]]]:
        """Name of an input of the subgraph -> the widgets that it sets: (key, widget); widgets that agree share one."""
        found: dict[tuple[str, Any], list[tuple[str, str]]] = {}
        for widget in _PROMOTED if self.subgraph else ():
            for key, (kind, inputs) in self.nodes.items():
                if kind in _OUTSIDE or (widget == "denoise" and inputs.get(widget) == 1.0):
                    continue
                if not isinstance(inputs.get(widget, ()), tuple):
                    found.setdefault((_label(key, widget), inputs[widget]), []).append((key, widget))
        labels = [label for label, _ in found]
        return {label if labels.count(label) == 1 else f"{widgets[0][0]} model": widgets  # short, to be read whole
                for (label, _), widgets in found.items()}

    @property
    def computed(self) -> int:
        """How many of the evaluations the budget pays for."""
        return computed_for_budget(self.budget, self.evaluations)

    @property
    def models(self) -> str:
        """The note on the model files, in Markdown."""
        lines = [f"- [{file.name}]({HUB}{file.url}) in `models/{file.directory}`" for file in self.files]
        return "\n".join(["## Model files", "", *lines])


def _file(name: str, directory: str, repository: str, folder: str = "split_files") -> File:
    path = f"{folder}/{directory}/{name}" if folder else name
    return File(name, directory, f"{repository}/resolve/main/{path}")


def _in_folders(name: str, directory: str, repository: str) -> File:
    return File(name, directory, f"{repository}/resolve/main/{directory}/{name}")


def _note(budget: float, evaluations: int, where: str, *more: str, node: str = "ReCache",
          samplers: str = "sampler") -> str:
    computed = computed_for_budget(budget, evaluations)
    lines = [
        "## Where ReCache goes", "",
        f"**{node}** goes last before the {samplers}: {where}.", "",
        f"A budget of {budget:g} computes {computed} of the {evaluations} evaluations of a run and forecasts the "
        f"others: {planned_speedup(computed, evaluations):.1f} times as fast. 1.0 changes nothing, to the bit.", "",
        "**ReCache Report** shows which evaluations were computed, and the time it saved."]
    for line in more:
        lines += ["", line]
    return "\n".join(lines)


def _budget(model: tuple[str, int], budget: float | tuple[str, int], **others: Any) -> tuple[str, dict]:
    return "ReCacheBudget", {"model": model, "budget": budget, "policy": "auto", **others}


def _report(sampler: str, budget: str = "budget") -> tuple[str, dict]:
    return "ReCacheReport", {"samples": (sampler, 0), "model": (budget, 0)}


def _text(text: str, clip: tuple[str, int] = ("clip", 0)) -> tuple[str, dict]:
    return "CLIPTextEncode", {"clip": clip, "text": text}


def _unet(name: str) -> tuple[str, dict]:
    return "UNETLoader", {"unet_name": name, "weight_dtype": "default"}


def _clip(name: str, kind: str) -> tuple[str, dict]:
    return "CLIPLoader", {"clip_name": name, "type": kind, "device": "default"}


def _two_clips(first: str, second: str, kind: str) -> tuple[str, dict]:
    return "DualCLIPLoader", {"clip_name1": first, "clip_name2": second, "type": kind, "device": "default"}


def _vae(name: str) -> tuple[str, dict]:
    return "VAELoader", {"vae_name": name}


def _ksampler(model: str, positive: tuple, negative: tuple, latent: tuple, *, steps: int, cfg: float, sampler: str,
              scheduler: str, denoise: float = 1.0, seed: int = 0) -> tuple[str, dict]:
    return "KSampler", {
        "model": (model, 0), "positive": positive, "negative": negative, "latent_image": latent, "seed": seed,
        "steps": steps, "cfg": cfg, "sampler_name": sampler, "scheduler": scheduler, "denoise": denoise}


def _custom_sampler(sampler: str = "euler", latent: tuple[str, int] = ("latent", 0)) -> tuple[str, dict]:
    return "SamplerCustomAdvanced", {
        "noise": ("noise", 0), "guider": ("guider", 0), "sampler": (sampler, 0), "sigmas": ("scheduler", 0),
        "latent_image": latent}


def _decode(samples: tuple[str, int], vae: tuple[str, int] = ("vae", 0)) -> tuple[str, dict]:
    return "VAEDecode", {"samples": samples, "vae": vae}


def _video(fps: float) -> dict[str, tuple[str, dict]]:
    return {
        "video": ("CreateVideo", {"images": ("decode", 0), "fps": fps}),
        "save": ("SaveVideo", {"video": ("video", 0), "filename_prefix": "video/recache", "format": "auto",
                               "codec": "auto"}),
    }


_SAVE = "SaveImage", {"images": ("decode", 0), "filename_prefix": "recache"}
_LOAD = "LoadImage", {"image": "example.png"}  # lies in every ComfyUI's input folder

_FLUX_VAE = _file("ae.safetensors", "vae", "Comfy-Org/Lumina_Image_2.0_Repackaged")
_CLIP_L = _file("clip_l.safetensors", "text_encoders", "comfyanonymous/flux_text_encoders", "")
_T5 = _file("t5xxl_fp16.safetensors", "text_encoders", "comfyanonymous/flux_text_encoders", "")
_T5_FP8 = _file("t5xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", "comfyanonymous/flux_text_encoders", "")
_FLUX = (_file("flux1-dev.safetensors", "diffusion_models", "Comfy-Org/flux1-dev", ""), _CLIP_L, _T5, _FLUX_VAE)
_flux_loaders = {
    "unet": _unet("flux1-dev.safetensors"),
    "clip": _two_clips("clip_l.safetensors", "t5xxl_fp16.safetensors", "flux"),
    "vae": _vae("ae.safetensors"),
}
_FLUX_RUN = {"steps": 20, "cfg": 1.0, "sampler": "euler", "scheduler": "simple"}
_LOADERS = ("models", "unet", "clip", "vae")
_RECACHE = ("budget", "note")

_WAN = "Comfy-Org/Wan_2.1_ComfyUI_repackaged"
_WAN_TEXT = _file("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "text_encoders", _WAN)
_WAN_VAE = _file("wan_2.1_vae.safetensors", "vae", _WAN)
_WAN_T2V = (_file("wan2.1_t2v_1.3B_fp16.safetensors", "diffusion_models", _WAN), _WAN_TEXT, _WAN_VAE)
# The negative prompt that Wan's authors recommend, in the language that they trained on.
_WAN_NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"
    "三条腿，背景人很多，倒着走")
_wan_loaders = {
    "unet": _unet("wan2.1_t2v_1.3B_fp16.safetensors"),
    "clip": _clip("umt5_xxl_fp8_e4m3fn_scaled.safetensors", "wan"),
    "vae": _vae("wan_2.1_vae.safetensors"),
}
_wan_shift = "ModelSamplingSD3", {"model": ("unet", 0), "shift": 8.0}

_flux_text_to_image = Workflow(
    name="FLUX.1-dev text to image",
    template="flux_dev_full_text_to_image",
    nodes={
        **_flux_loaders,
        "positive": _text("a red fox asleep on a mossy stone wall, morning light, 35mm photograph"),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": _budget(("unet", 0), 0.5),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **_FLUX_RUN),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Prompt and size", ("positive", "negative", "latent")), ("ReCache", _RECACHE),
        ("Sampling", ("sampler", "report")), ("Picture", ("decode", "save"))),
    files=_FLUX,
    note=_note(0.5, 20, "after the loader, and after LoRAs and other model nodes when you add them"),
    line="budget 0.5", evaluations=20, budget=0.5,
    subgraph=True,
)

_flux_image_to_image = Workflow(
    name="FLUX.1-dev image to image",
    template="",
    nodes={
        **_flux_loaders,
        "image": _LOAD,
        "scale": ("ImageScaleToTotalPixels", {
            "image": ("image", 0), "upscale_method": "lanczos", "megapixels": 1.0, "resolution_steps": 1}),
        "encode": ("VAEEncode", {"pixels": ("scale", 0), "vae": ("vae", 0)}),
        "positive": _text("a watercolour painting, loose brush strokes, paper texture"),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "budget": _budget(("unet", 0), 0.4),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("encode", 0), **_FLUX_RUN, denoise=0.75),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Picture to start from", ("image", "scale", "encode")),
        ("Prompt", ("positive", "negative")), ("ReCache", _RECACHE), ("Sampling", ("sampler", "report")),
        ("Picture", ("decode", "save"))),
    files=_FLUX,
    note=_note(0.4, 20, "after the loader, and after LoRAs and other model nodes when you add them",
               "KSampler makes all 20 steps at any denoise, on the less noisy part of the schedule: the plan is made "
               "for the noise levels of your run."),
    line="budget 0.4", evaluations=20, budget=0.4,
    subgraph=True,
)

_flux_kontext = Workflow(
    name="FLUX.1 Kontext edit",
    template="flux_kontext_dev_basic",
    nodes={
        "unet": _unet("flux1-dev-kontext_fp8_scaled.safetensors"),
        "clip": _two_clips("clip_l.safetensors", "t5xxl_fp8_e4m3fn_scaled.safetensors", "flux"),
        "vae": _vae("ae.safetensors"),
        "image": _LOAD,
        "stitch": ("ImageStitch", {
            "image1": ("image", 0), "direction": "right", "match_image_size": True, "spacing_width": 0,
            "spacing_color": "white"}),
        "scale": ("FluxKontextImageScale", {"image": ("stitch", 0)}),
        "encode": ("VAEEncode", {"pixels": ("scale", 0), "vae": ("vae", 0)}),
        "positive": _text("make it a snowy winter night, keep the composition"),
        "reference": ("ReferenceLatent", {"conditioning": ("positive", 0), "latent": ("encode", 0)}),
        "guidance": ("FluxGuidance", {"conditioning": ("reference", 0), "guidance": 2.5}),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "budget": _budget(("unet", 0), 0.5),
        "sampler": _ksampler("budget", ("guidance", 0), ("negative", 0), ("encode", 0), **_FLUX_RUN),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Picture to edit", ("image", "stitch", "scale", "encode")),
        ("Prompt", ("positive", "reference", "guidance", "negative")), ("ReCache", _RECACHE),
        ("Sampling", ("sampler", "report")), ("Picture", ("decode", "save"))),
    files=(_file("flux1-dev-kontext_fp8_scaled.safetensors", "diffusion_models", "Comfy-Org/flux1-kontext-dev_ComfyUI"),
           _CLIP_L, _T5_FP8, _FLUX_VAE),
    note=_note(0.5, 20, "after the loader, and after LoRAs and other model nodes when you add them",
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
_flux2 = Workflow(
    name="FLUX.2-dev text to image",
    template="image_flux2_text_to_image",
    nodes={
        "unet": _unet("flux2_dev_fp8mixed.safetensors"),
        "clip": _clip("mistral_3_small_flux2_bf16.safetensors", "flux2"),
        "vae": _vae("full_encoder_small_decoder.safetensors"),
        "positive": _text("a paper lantern festival on a canal at dusk, reflections in the water, long exposure"),
        "guidance": ("FluxGuidance", {"conditioning": ("positive", 0), "guidance": 4.0}),
        **_flux2_steps,
        "budget": _budget(("unet", 0), 0.5),
        "guider": ("BasicGuider", {"model": ("budget", 0), "conditioning": ("guidance", 0)}),
        "sampler": _custom_sampler(),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Prompt", ("positive", "guidance")),
        ("Size and steps", ("width", "height", "latent", "scheduler", "euler", "noise")),
        ("ReCache", ("budget", "guider", "note")), ("Sampling", ("sampler", "report")),
        ("Picture", ("decode", "save"))),
    files=(_file("flux2_dev_fp8mixed.safetensors", "diffusion_models", "Comfy-Org/flux2-dev"),
           _file("mistral_3_small_flux2_bf16.safetensors", "text_encoders", "Comfy-Org/flux2-dev"),
           _file("full_encoder_small_decoder.safetensors", "vae", "black-forest-labs/FLUX.2-small-decoder", "")),
    note=_note(0.5, 20, "here that is the guider, which hands the model to the sampler",
               "With the 8-step Turbo LoRA there is little left to skip: leave ReCache out then."),
    line="budget 0.5", evaluations=20, budget=0.5, titles={"width": "Width", "height": "Height"},
    subgraph=True,
)

_wan_text_to_video = Workflow(
    name="Wan 2.1 text to video",
    template="text_to_video_wan",
    nodes={
        **_wan_loaders, "shift": _wan_shift,
        "positive": _text("a paper boat drifts down a rain-soaked gutter, city lights reflected in the water"),
        "negative": _text(_WAN_NEGATIVE),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 832, "height": 480, "length": 33, "batch_size": 1}),
        "budget": _budget(("shift", 0), 0.4),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=30, cfg=6.0,
                             sampler="uni_pc", scheduler="simple"),
        "report": _report("sampler"), "decode": _decode(("report", 0)), **_video(16.0),
    },
    groups=(
        ("Models", (*_LOADERS, "shift")), ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache", _RECACHE), ("Sampling", ("sampler", "report")), ("Video", ("decode", "video", "save"))),
    files=_WAN_T2V,
    note=_note(0.4, 30, "after ModelSamplingSD3, and after LoRAs when you add them",
               "With guidance (cfg 6) every evaluation runs the network twice, and a cached one skips both."),
    line="budget 0.4", evaluations=30, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)

_wan_image_to_video = Workflow(
    name="Wan 2.1 image to video",
    template="image_to_video_wan",
    nodes={
        **_wan_loaders, "unet": _unet("wan2.1_i2v_480p_14B_fp16.safetensors"), "shift": _wan_shift,
        "vision": ("CLIPVisionLoader", {"clip_name": "clip_vision_h.safetensors"}),
        "image": _LOAD,
        "seen": ("CLIPVisionEncode", {"clip_vision": ("vision", 0), "image": ("image", 0), "crop": "none"}),
        "positive": _text("the camera moves slowly forward, leaves drift past in the wind"),
        "negative": _text(_WAN_NEGATIVE),
        "start": ("WanImageToVideo", {
            "positive": ("positive", 0), "negative": ("negative", 0), "vae": ("vae", 0),
            "clip_vision_output": ("seen", 0), "start_image": ("image", 0), "width": 512, "height": 512, "length": 33,
            "batch_size": 1}),
        "budget": _budget(("shift", 0), 0.4),
        "sampler": _ksampler("budget", ("start", 0), ("start", 1), ("start", 2), steps=20, cfg=6.0,
                             sampler="uni_pc", scheduler="simple"),
        "report": _report("sampler"), "decode": _decode(("report", 0)), **_video(16.0),
    },
    groups=(
        ("Models", (*_LOADERS, "vision", "shift")), ("First frame", ("image", "seen")),
        ("Prompt and size", ("positive", "negative", "start")), ("ReCache", _RECACHE),
        ("Sampling", ("sampler", "report")), ("Video", ("decode", "video", "save"))),
    files=(_file("wan2.1_i2v_480p_14B_fp16.safetensors", "diffusion_models", _WAN), _WAN_TEXT, _WAN_VAE,
           _file("clip_vision_h.safetensors", "clip_vision", _WAN)),
    note=_note(0.4, 20, "after ModelSamplingSD3, and after LoRAs when you add them",
               "With guidance (cfg 6) every evaluation runs the network twice, and a cached one skips both."),
    line="budget 0.4", evaluations=20, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)


def _expert(model: tuple[str, int], latent: tuple[str, int], first: bool) -> tuple[str, dict]:
    return "KSamplerAdvanced", {
        "model": model, "positive": ("positive", 0), "negative": ("negative", 0), "latent_image": latent,
        "add_noise": "enable" if first else "disable", "noise_seed": 0, "steps": 20, "cfg": 3.5,
        "sampler_name": "euler", "scheduler": "simple", "start_at_step": 0 if first else 10,
        "end_at_step": 10 if first else 20, "return_with_leftover_noise": "enable" if first else "disable"}


_wan22 = Workflow(
    name="Wan 2.2 14B text to video",
    template="video_wan2_2_14B_t2v",
    nodes={
        "high noise": _unet("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors"),
        "low noise": _unet("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors"),
        "clip": _wan_loaders["clip"], "vae": _wan_loaders["vae"],
        "shift": ("ModelSamplingSD3", {"model": ("high noise", 0), "shift": 5.0}),
        "shift low": ("ModelSamplingSD3", {"model": ("low noise", 0), "shift": 5.0}),
        "positive": _text("a lighthouse keeper climbs a spiral stair with a lamp, shadows turn on the walls"),
        "negative": _text(_WAN_NEGATIVE + "，裸露，NSFW"),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 640, "height": 640, "length": 81, "batch_size": 1}),
        "budget": ("ReCacheBudgetTwoModels", {"high_noise": ("shift", 0), "low_noise": ("shift low", 0), "budget": 0.4,
                                              "policy": "auto"}),
        "sampler": _expert(("budget", 0), ("latent", 0), True),
        "sampler low": _expert(("budget", 1), ("sampler", 0), False),
        "report": ("ReCacheReport", {"samples": ("sampler low", 0), "model": ("budget", 1)}),
        "decode": _decode(("report", 0)), **_video(16.0),
    },
    groups=(
        ("Models", ("models", "high noise", "low noise", "clip", "vae")),
        ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache, one budget over both experts", ("shift", "shift low", "budget", "note")),
        ("High noise, then low noise", ("sampler", "sampler low", "report")),
        ("Video", ("decode", "video", "save"))),
    files=(_file("wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", "diffusion_models",
                 "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"),
           _file("wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", "diffusion_models",
                 "Comfy-Org/Wan_2.2_ComfyUI_Repackaged"),
           _WAN_TEXT, _file("wan_2.1_vae.safetensors", "vae", "Comfy-Org/Wan_2.2_ComfyUI_Repackaged")),
    note=_note(0.4, 20, "after ModelSamplingSD3 and after LoRAs of both experts",
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

_hunyuan = Workflow(
    name="HunyuanVideo text to video",
    template="hunyuan_video_text_to_video",
    nodes={
        "unet": _unet("hunyuan_video_t2v_720p_bf16.safetensors"),
        "clip": _two_clips("clip_l.safetensors", "llava_llama3_fp8_scaled.safetensors", "hunyuan_video"),
        "vae": _vae("hunyuan_video_vae_bf16.safetensors"),
        "shift": ("ModelSamplingSD3", {"model": ("unet", 0), "shift": 7.0}),
        "positive": _text("a heron lifts off from a misty lake at sunrise, ripples spread, slow motion"),
        "guidance": ("FluxGuidance", {"conditioning": ("positive", 0), "guidance": 6.0}),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 848, "height": 480, "length": 73, "batch_size": 1}),
        "scheduler": ("BasicScheduler", {"model": ("unet", 0), "scheduler": "simple", "steps": 20, "denoise": 1.0}),
        "euler": ("KSamplerSelect", {"sampler_name": "euler"}),
        "noise": ("RandomNoise", {"noise_seed": 0}),
        "budget": _budget(("shift", 0), 0.5),
        "guider": ("BasicGuider", {"model": ("budget", 0), "conditioning": ("guidance", 0)}),
        "sampler": _custom_sampler(),
        "report": _report("sampler"),
        "decode": ("VAEDecodeTiled", {
            "samples": ("report", 0), "vae": ("vae", 0), "tile_size": 256, "overlap": 64, "temporal_size": 64,
            "temporal_overlap": 8}),
        **_video(24.0),
    },
    groups=(
        ("Models", (*_LOADERS, "shift")), ("Prompt and size", ("positive", "guidance", "latent")),
        ("Steps", ("scheduler", "euler", "noise")), ("ReCache", ("budget", "guider", "note")),
        ("Sampling", ("sampler", "report")), ("Video", ("decode", "video", "save"))),
    files=(_file("hunyuan_video_t2v_720p_bf16.safetensors", "diffusion_models", "Comfy-Org/HunyuanVideo_repackaged"),
           _CLIP_L,
           _file("llava_llama3_fp8_scaled.safetensors", "text_encoders", "Comfy-Org/HunyuanVideo_repackaged"),
           _file("hunyuan_video_vae_bf16.safetensors", "vae", "Comfy-Org/HunyuanVideo_repackaged")),
    note=_note(0.5, 20, "after ModelSamplingSD3 and LoRAs; here that is the guider, which hands the model to the "
                        "sampler"),
    line="budget 0.5", evaluations=20, budget=0.5, titles={"positive": POSITIVE},
    subgraph=True,
)

_qwen = Workflow(
    name="Qwen-Image text to image",
    template="image_qwen_Image_2512",
    nodes={
        "unet": _unet("qwen_image_2512_fp8_e4m3fn.safetensors"),
        "clip": _clip("qwen_2.5_vl_7b_fp8_scaled.safetensors", "qwen_image"),
        "vae": _vae("qwen_image_vae.safetensors"),
        "shift": ("ModelSamplingAuraFlow", {"model": ("unet", 0), "shift": 3.1}),
        "positive": _text('a bookshop window at night, a hand-painted sign that reads "OPEN LATE", rain on the glass'),
        "negative": _text("low resolution, deformed hands, oversaturated, waxy skin, blurred or distorted text"),
        "latent": ("EmptySD3LatentImage", {"width": 1328, "height": 1328, "batch_size": 1}),
        "budget": _budget(("shift", 0), 0.3),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=50, cfg=4.0,
                             sampler="euler", scheduler="simple"),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", (*_LOADERS, "shift")), ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache", _RECACHE), ("Sampling", ("sampler", "report")), ("Picture", ("decode", "save"))),
    files=(_file("qwen_image_2512_fp8_e4m3fn.safetensors", "diffusion_models", "Comfy-Org/Qwen-Image_ComfyUI"),
           _file("qwen_2.5_vl_7b_fp8_scaled.safetensors", "text_encoders", "Comfy-Org/Qwen-Image_ComfyUI"),
           _file("qwen_image_vae.safetensors", "vae", "Comfy-Org/Qwen-Image_ComfyUI")),
    note=_note(0.3, 50, "after ModelSamplingAuraFlow, and after LoRAs when you add them",
               "With guidance (cfg 4) every evaluation runs the network twice, and a cached one skips both.",
               "The first Qwen-Image works in the same way: choose its file in the loader. With a 4- or 8-step "
               "Lightning LoRA there is little left to skip: leave ReCache out then."),
    line="budget 0.3", evaluations=50, budget=0.3, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)

_z_image = Workflow(
    name="Z-Image text to image",
    template="image_z_image",
    nodes={
        "unet": _unet("z_image_bf16.safetensors"),
        "clip": _clip("qwen_3_4b.safetensors", "lumina2"),
        "vae": _vae("ae.safetensors"),
        "shift": ("ModelSamplingAuraFlow", {"model": ("unet", 0), "shift": 3.0}),
        "positive": _text("a potter's hands shaping a bowl on a spinning wheel, window light, shallow depth of field"),
        "negative": _text(""),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": _budget(("shift", 0), 0.4),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=25, cfg=4.0,
                             sampler="res_multistep", scheduler="simple"),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", (*_LOADERS, "shift")), ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache", _RECACHE), ("Sampling", ("sampler", "report")), ("Picture", ("decode", "save"))),
    files=(_file("z_image_bf16.safetensors", "diffusion_models", "Comfy-Org/z_image"),
           _file("qwen_3_4b.safetensors", "text_encoders", "Comfy-Org/z_image_turbo"),
           _file("ae.safetensors", "vae", "Comfy-Org/z_image_turbo")),
    note=_note(0.4, 25, "after ModelSamplingAuraFlow, and after LoRAs when you add them",
               "With guidance (cfg 4) every evaluation runs the network twice, and a cached one skips both.",
               "This is Z-Image, not Z-Image-Turbo: Turbo takes 8 steps, and there is little left to skip."),
    line="budget 0.4", evaluations=25, budget=0.4, titles={"positive": POSITIVE, "negative": NEGATIVE},
    subgraph=True,
)

_krea2 = Workflow(
    name="Krea 2 Turbo text to image",
    template="image_krea2_turbo_t2i",
    nodes={
        "unet": _unet("krea2_turbo_fp8_scaled.safetensors"),
        "clip": _clip("qwen3vl_4b_fp8_scaled.safetensors", "krea2"),
        "vae": _vae("qwen_image_vae.safetensors"),
        "positive": _text("a lighthouse made of folded paper on a cliff of books, soft studio light, muted colours"),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": _budget(("unet", 0), 0.75),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=8, cfg=1.0,
                             sampler="euler", scheduler="simple"),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Prompt and size", ("positive", "negative", "latent")), ("ReCache", _RECACHE),
        ("Sampling", ("sampler", "report")), ("Picture", ("decode", "save"))),
    files=(_in_folders("krea2_turbo_fp8_scaled.safetensors", "diffusion_models", "Comfy-Org/Krea-2"),
           _in_folders("qwen3vl_4b_fp8_scaled.safetensors", "text_encoders", "Comfy-Org/Krea-2"),
           _in_folders("qwen_image_vae.safetensors", "vae", "Comfy-Org/Krea-2")),
    note=_note(0.75, 8, "after the loader, and after LoRAs when you add them",
               "Turbo takes 8 steps. With so few, a step or two can be saved before the picture becomes another one: "
               "the bar on the node says how close it will come."),
    line="budget 0.75 of 8 steps", evaluations=8, budget=0.75,
    subgraph=True,
)

_flux2_klein = Workflow(
    name="FLUX.2 Klein text to image",
    template="image_flux2_klein_text_to_image",
    nodes={
        "unet": _unet("flux-2-klein-base-4b.safetensors"),
        "clip": _clip("qwen_3_4b.safetensors", "flux2"),
        "vae": _vae("flux2-vae.safetensors"),
        "positive": _text("a tin robot waters tomatoes on a balcony, golden hour, shot on film"),
        "negative": _text(""),
        **_flux2_steps,
        "budget": _budget(("unet", 0), 0.5),
        "guider": ("CFGGuider", {"model": ("budget", 0), "positive": ("positive", 0), "negative": ("negative", 0),
                                 "cfg": 5.0}),
        "sampler": _custom_sampler(),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Prompt", ("positive", "negative")),
        ("Size and steps", ("width", "height", "latent", "scheduler", "euler", "noise")),
        ("ReCache", ("budget", "guider", "note")), ("Sampling", ("sampler", "report")),
        ("Picture", ("decode", "save"))),
    files=(_file("flux-2-klein-base-4b.safetensors", "diffusion_models", "Comfy-Org/flux2-klein"),
           _file("qwen_3_4b.safetensors", "text_encoders", "Comfy-Org/flux2-klein"),
           _file("flux2-vae.safetensors", "vae", "Comfy-Org/flux2-dev")),
    note=_note(0.5, 20, "here that is the guider, which hands the model to the sampler",
               "With guidance (cfg 5) every evaluation runs the network twice, and a cached one skips both.",
               "This is the base model. The distilled Klein takes 4 steps, and there is little left to skip."),
    line="budget 0.5", evaluations=20, budget=0.5,
    titles={"positive": POSITIVE, "negative": NEGATIVE, "width": "Width", "height": "Height"},
    subgraph=True,
)

_H3 = "Comfy-Org/MiniMax-H3"
_minimax_h3 = Workflow(
    name="MiniMax H3 text to video",
    template="video_minimax_h3_t2v",
    nodes={
        "unet": _unet("minimax_h3_fl2va_pruned_int8_convrot.safetensors"),
        "clip": _clip("qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "minimax"),
        "vae": _vae("minimax_h3_video_vae_fp16.safetensors"),
        "vae audio": _vae("minimax_h3_audio_vae_fp32.safetensors"),
        "positive": ("MiniMaxH3ImageToVideo", {
            "clip": ("clip", 0), "vae": ("vae", 0), "width": 832, "height": 480, "length": 56,
            "prompt": "A kettle begins to whistle on a gas stove, steam clouds the kitchen window, a cat jumps from "
                      "the table. Sound: the rising whistle, rain outside."}),
        "scheduler": ("BasicScheduler", {"model": ("unet", 0), "scheduler": "simple", "steps": 20, "denoise": 1.0}),
        "multistep": ("KSamplerSelect", {"sampler_name": "res_multistep"}),
        "noise": ("RandomNoise", {"noise_seed": 0}),
        "budget": _budget(("unet", 0), 0.5),
        "guider": ("BasicGuider", {"model": ("budget", 0), "conditioning": ("positive", 0)}),
        "sampler": _custom_sampler("multistep", ("positive", 1)),
        "report": _report("sampler"), "decode": _decode(("report", 0)),
        "decode audio": ("VAEDecodeAudio", {"samples": ("report", 0), "vae": ("vae audio", 0)}),
        "video": ("CreateVideo", {"images": ("decode", 0), "audio": ("decode audio", 0), "fps": 24.0}),
        "save": _video(24.0)["save"],
    },
    groups=(
        ("Models", ("models", "unet", "clip", "vae", "vae audio")), ("Prompt and size", ("positive",)),
        ("Steps", ("scheduler", "multistep", "noise")), ("ReCache", ("budget", "guider", "note")),
        ("Sampling", ("sampler", "report")), ("Video", ("decode", "decode audio", "video", "save"))),
    files=(_in_folders("minimax_h3_fl2va_pruned_int8_convrot.safetensors", "diffusion_models", _H3),
           _in_folders("qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors", "text_encoders", _H3),
           _in_folders("minimax_h3_video_vae_fp16.safetensors", "vae", _H3),
           _in_folders("minimax_h3_audio_vae_fp32.safetensors", "vae", _H3)),
    note=_note(0.5, 20, "here that is the guider, which hands the model to the sampler",
               "Picture and sound are one latent: both are forecast under the one budget.",
               "A length of 56 frames is a little over two seconds; it goes up in steps of 17."),
    line="picture and sound, budget 0.5", evaluations=20, budget=0.5, titles={"vae audio": "Load VAE (sound)"},
    subgraph=True,
)


def _sdxl_sampler(model: tuple, prompts: str, latent: tuple[str, int], first: bool) -> tuple[str, dict]:
    return "KSamplerAdvanced", {
        "model": model, "positive": (f"positive{prompts}", 0), "negative": (f"negative{prompts}", 0),
        "latent_image": latent, "add_noise": "enable" if first else "disable", "noise_seed": 0, "steps": 25, "cfg": 8.0,
        "sampler_name": "euler", "scheduler": "normal", "start_at_step": 0 if first else 20,
        "end_at_step": 20 if first else 10000, "return_with_leftover_noise": "enable" if first else "disable"}


_SDXL_PROMPT = "a glass bottle with a tiny thunderstorm inside, on a windowsill, evening light"
_sdxl = Workflow(
    name="SDXL text to image",
    template="sdxl_simple_example",
    nodes={
        "base": ("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_base_1.0.safetensors"}),
        "refiner": ("CheckpointLoaderSimple", {"ckpt_name": "sd_xl_refiner_1.0.safetensors"}),
        "positive": _text(_SDXL_PROMPT, ("base", 1)),
        "negative": _text("text, watermark", ("base", 1)),
        "positive refiner": _text(_SDXL_PROMPT, ("refiner", 1)),
        "negative refiner": _text("text, watermark", ("refiner", 1)),
        "latent": ("EmptyLatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "budget": _budget(("base", 0), 0.4),
        "sampler": _sdxl_sampler(("budget", 0), "", ("latent", 0), True),
        "report": _report("sampler"),
        "sampler refiner": _sdxl_sampler(("refiner", 0), " refiner", ("report", 0), False),
        "decode": _decode(("sampler refiner", 0), ("refiner", 2)), "save": _SAVE,
    },
    groups=(
        ("Models and size", ("models", "base", "refiner", "latent")), ("Prompt for the base", ("positive", "negative")),
        ("Prompt for the refiner", ("positive refiner", "negative refiner")), ("ReCache", _RECACHE),
        ("Base", ("sampler", "report")), ("Refiner and picture", ("sampler refiner", "decode", "save"))),
    files=(_file("sd_xl_base_1.0.safetensors", "checkpoints", "stabilityai/stable-diffusion-xl-base-1.0", ""),
           _file("sd_xl_refiner_1.0.safetensors", "checkpoints", "stabilityai/stable-diffusion-xl-refiner-1.0", "")),
    note=_note(0.4, 20, "after the checkpoint loader, and after LoRAs and other model nodes when you add them",
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


def _trained(about: str, more: str) -> str:
    return "\n".join([
        "## Training a policy", "",
        f"**ReCache Train** takes what goes into your sampler, without ReCache, and learns {about}", "",
        "It makes uncached outputs first, then tries schedules and keeps what comes closest to them. Watch the curve: "
        "when it is flat, press *Stop and keep the best*. Nothing is lost if you cancel: queue again to go on.", "",
        "**ReCache Save Policy** writes a small file into `models/recache`. ReCache takes it from there in "
        "every workflow with this model (policy *auto*), and you can share it.", "", more])


_PROMPTS = (
    "a red fox asleep on a mossy stone wall, morning light, 35mm photograph",
    "a crowded night market seen from above, neon signs, rain",
    "portrait of an old fisherman in a yellow raincoat, overcast sky")

_train_flux = Workflow(
    name="Train a policy for FLUX.1-dev",
    template="",
    nodes={
        **_flux_loaders,
        "positive": _text(_PROMPTS[0]), "second": _text(_PROMPTS[1]), "third": _text(_PROMPTS[2]),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "prompt": ("ReCacheTrainingPrompt", {"positive": ("second", 0), "negative": ("negative", 0)}),
        "prompt 2": ("ReCacheTrainingPrompt", {
            "positive": ("third", 0), "negative": ("negative", 0), "previous": ("prompt", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "train": ("ReCacheTrain", {
            "model": ("unet", 0), "positive": ("positive", 0), "negative": ("negative", 0),
            "latent_image": ("latent", 0), "vae": ("vae", 0), "prompts": ("prompt 2", 0), "seed": 1, "steps": 20,
            "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "budgets": "0.2, 0.3, 0.4",
            "samples": 2, "evaluations": 3000, "minutes": 0.0}),
        "policy": ("ReCacheSavePolicy", {"policy": ("train", 0), "name": "flux1-dev-20-steps", "notes": ""}),
        "budget": _budget(("unet", 0), 0.4, trained=("train", 0)),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **_FLUX_RUN, seed=100),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Prompts to learn on", ("positive", "second", "third", "negative", "prompt",
                                                       "prompt 2", "latent")),
        ("Train", ("train", "note")), ("Keep it, and use it at once", ("policy", "budget", "sampler")),
        ("Picture", ("report", "decode", "save"))),
    files=_FLUX,
    note=_trained("which evaluations are worth computing at each of the budgets, on three prompts.",
                  "3,000 evaluations at half a second each are 25 minutes. The best schedules are chosen by their "
                  "pictures, because the VAE is connected."),
    line="three prompts, three budgets", evaluations=20, budget=0.4,
    titles={"positive": "Prompt 1", "second": "Prompt 2", "third": "Prompt 3"},
)

_train_wan = Workflow(
    name="Train a policy for Wan 2.1",
    template="",
    nodes={
        **_wan_loaders, "shift": _wan_shift,
        "positive": _text("a paper boat drifts down a rain-soaked gutter, city lights reflected in the water"),
        "second": _text("a potter's hands shape a bowl on a spinning wheel, close-up"),
        "negative": _text(_WAN_NEGATIVE),
        "prompt": ("ReCacheTrainingPrompt", {"positive": ("second", 0), "negative": ("negative", 0)}),
        "latent": ("EmptyHunyuanLatentVideo", {"width": 832, "height": 480, "length": 33, "batch_size": 1}),
        "train": ("ReCacheTrain", {
            "model": ("shift", 0), "positive": ("positive", 0), "negative": ("negative", 0),
            "latent_image": ("latent", 0), "prompts": ("prompt", 0), "seed": 1, "steps": 30, "cfg": 6.0,
            "sampler_name": "uni_pc", "scheduler": "simple", "denoise": 1.0, "budgets": "0.2, 0.3, 0.4", "samples": 2,
            "evaluations": 2000, "minutes": 0.0}),
        "policy": ("ReCacheSavePolicy", {"policy": ("train", 0), "name": "wan2.1-30-steps", "notes": ""}),
        "budget": _budget(("shift", 0), 0.4, trained=("train", 0)),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), steps=30, cfg=6.0,
                             sampler="uni_pc", scheduler="simple", seed=100),
        "report": _report("sampler"), "decode": _decode(("report", 0)), **_video(16.0),
    },
    groups=(
        ("Models", (*_LOADERS, "shift")), ("Prompts to learn on", ("positive", "second", "negative", "prompt",
                                                                   "latent")),
        ("Train", ("train", "note")), ("Keep it, and use it at once", ("policy", "budget", "sampler")),
        ("Video", ("report", "decode", "video", "save"))),
    files=_WAN_T2V,
    note=_trained("which evaluations are worth computing at each of the budgets, on two prompts.",
                  "2,000 evaluations take 2,000 times what one step of your sampler takes. The clips are compared as "
                  "latents; connect the VAE to choose by their pictures, which takes a little longer."),
    line="two prompts, three budgets", evaluations=30, budget=0.4,
    titles={"positive": "Prompt 1", "second": "Prompt 2", "negative": NEGATIVE},
)

_compare = Workflow(
    name="Compare cached and uncached",
    template="",
    nodes={
        **_flux_loaders,
        "positive": _text(_PROMPTS[0]),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "uncached": _ksampler("unet", ("positive", 0), ("negative", 0), ("latent", 0), **_FLUX_RUN, seed=1),
        "budget": _budget(("unet", 0), 0.5),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **_FLUX_RUN, seed=1),
        "report": _report("sampler"),
        "decode uncached": _decode(("uncached", 0)),
        "decode": _decode(("report", 0)),
        "compare": ("ReCacheCompare", {
            "uncached": ("decode uncached", 0), "cached": ("decode", 0), "rows": 4, "heat_scale": 0.2}),
    },
    groups=(
        ("Models", _LOADERS), ("Prompt and size", ("positive", "negative", "latent")),
        ("ReCache", ("budget", "note")), ("The same seed, twice", ("uncached", "sampler")),
        ("Pictures", ("report", "decode uncached", "decode")), ("Compare", ("compare",))),
    files=_FLUX,
    note="\n".join([
        "## Cached and uncached, side by side", "",
        "Both samplers have the same seed, prompt and settings; only the second gets its model from "
        "**ReCache**. **ReCache Compare** shows both pictures and a heat map of where they differ, with LPIPS, "
        "PSNR and SSIM.", "",
        "Move the budget and queue again: the uncached picture is not made anew. A batch or the frames of a clip are "
        "compared pair by pair. With another seed, change it on both samplers."]),
    line="both pictures, a heat map, figures", evaluations=20, budget=0.5,
    titles={"uncached": "KSampler, uncached", "sampler": "KSampler, cached",
            "decode uncached": "VAE Decode, uncached", "decode": "VAE Decode, cached"},
)

_frontier = Workflow(
    name="Choose a budget by the frontier",
    template="",
    nodes={
        **_flux_loaders,
        "positive": _text(_PROMPTS[0]),
        "negative": ("ConditioningZeroOut", {"conditioning": ("positive", 0)}),
        "latent": ("EmptySD3LatentImage", {"width": 1024, "height": 1024, "batch_size": 1}),
        "frontier": ("ReCacheFrontier", {
            "model": ("unet", 0), "positive": ("positive", 0), "negative": ("negative", 0),
            "latent_image": ("latent", 0), "vae": ("vae", 0), "seed": 1, "steps": 20, "cfg": 1.0,
            "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "budgets": "0.2, 0.3, 0.4, 0.5",
            "samples": 2, "fewer_steps": True, "policy": "auto"}),
        "budget": _budget(("unet", 0), ("frontier", 1)),
        "sampler": _ksampler("budget", ("positive", 0), ("negative", 0), ("latent", 0), **_FLUX_RUN, seed=100),
        "report": _report("sampler"), "decode": _decode(("report", 0)), "save": _SAVE,
    },
    groups=(
        ("Models", _LOADERS), ("Prompt and size", ("positive", "negative", "latent")),
        ("Frontier", ("frontier", "note")), ("Use the budget at the knee", ("budget", "sampler")),
        ("Picture", ("report", "decode", "save"))),
    files=_FLUX,
    note="\n".join([
        "## What a budget buys", "",
        "**ReCache Frontier** runs your own workflow without a cache and at every budget that you list, and draws "
        "quality against time. The knee is where more time stops buying much quality.", "",
        "It also runs fewer steps without a cache, as many as each budget computes: what you would do without "
        "ReCache.", "",
        "The budget at the knee goes straight into **ReCache**. To set it by hand from then on, remove that "
        "link, and bypass ReCache Frontier."]),
    line="quality against time, the knee marked", evaluations=20, budget=0.5,
)

WORKFLOWS: tuple[Workflow, ...] = (
    _flux_text_to_image, _flux_image_to_image, _flux_kontext, _flux2, _wan_text_to_video, _wan_image_to_video, _wan22,
    _hunyuan, _qwen, _z_image, _krea2, _flux2_klein, _minimax_h3, _sdxl, _train_flux, _train_wan, _compare, _frontier)
