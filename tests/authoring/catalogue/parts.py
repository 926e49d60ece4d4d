"""Nodes, files and notes that the workflows share."""

from __future__ import annotations

from typing import Any

from recache.policies.budget import computed_for_budget, planned_speedup
from tests.authoring.catalogue.workflow import File


def split_file(name: str, directory: str, repository: str, folder: str = "split_files") -> File:
    path = f"{folder}/{directory}/{name}" if folder else name
    return File(name, directory, f"{repository}/resolve/main/{path}")


def file_in_folder(name: str, directory: str, repository: str) -> File:
    return File(name, directory, f"{repository}/resolve/main/{directory}/{name}")


def about(budget: float, evaluations: int, where: str, *more: str, node: str = "ReCache",
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


def guided(cfg: int) -> str:
    """For the note of a workflow with guidance."""
    return f"With guidance (cfg {cfg}) every evaluation runs the network twice, and a cached one skips both."


def budget(model: tuple[str, int], budget: float | tuple[str, int], **others: Any) -> tuple[str, dict]:
    return "ReCacheBudget", {"model": model, "budget": budget, "policy": "auto", **others}


def report(sampler: str, budget: str = "budget") -> tuple[str, dict]:
    return "ReCacheReport", {"samples": (sampler, 0), "model": (budget, 0)}


def text(text: str, clip: tuple[str, int] = ("clip", 0)) -> tuple[str, dict]:
    return "CLIPTextEncode", {"clip": clip, "text": text}


def unet(name: str) -> tuple[str, dict]:
    return "UNETLoader", {"unet_name": name, "weight_dtype": "default"}


def clip(name: str, kind: str) -> tuple[str, dict]:
    return "CLIPLoader", {"clip_name": name, "type": kind, "device": "default"}


def two_clips(first: str, second: str, kind: str) -> tuple[str, dict]:
    return "DualCLIPLoader", {"clip_name1": first, "clip_name2": second, "type": kind, "device": "default"}


def vae(name: str) -> tuple[str, dict]:
    return "VAELoader", {"vae_name": name}


def ksampler(model: str, positive: tuple, negative: tuple, latent: tuple, *, steps: int, cfg: float, sampler: str,
             scheduler: str, denoise: float = 1.0, seed: int = 0) -> tuple[str, dict]:
    return "KSampler", {
        "model": (model, 0), "positive": positive, "negative": negative, "latent_image": latent, "seed": seed,
        "steps": steps, "cfg": cfg, "sampler_name": sampler, "scheduler": scheduler, "denoise": denoise}


def custom_sampler(sampler: str = "euler", latent: tuple[str, int] = ("latent", 0)) -> tuple[str, dict]:
    return "SamplerCustomAdvanced", {
        "noise": ("noise", 0), "guider": ("guider", 0), "sampler": (sampler, 0), "sigmas": ("scheduler", 0),
        "latent_image": latent}


def decode(samples: tuple[str, int], vae: tuple[str, int] = ("vae", 0)) -> tuple[str, dict]:
    return "VAEDecode", {"samples": samples, "vae": vae}


def video(fps: float) -> dict[str, tuple[str, dict]]:
    return {
        "video": ("CreateVideo", {"images": ("decode", 0), "fps": fps}),
        "save": ("SaveVideo", {"video": ("video", 0), "filename_prefix": "video/recache", "format": "auto",
                               "codec": "auto"}),
    }


SAVE = "SaveImage", {"images": ("decode", 0), "filename_prefix": "recache"}
LOAD = "LoadImage", {"image": "example.png"}  # lies in every ComfyUI's input folder
LOADERS = ("models", "unet", "clip", "vae")
RECACHE = ("budget", "note")
_SAMPLED = (("ReCache", RECACHE), ("Sampling", ("sampler", "report")))
TO_PICTURE = (*_SAMPLED, ("Picture", ("decode", "save")))
TO_VIDEO = (*_SAMPLED, ("Video", ("decode", "video", "save")))
