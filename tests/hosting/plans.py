"""Requests for the plan of a run, as the page sends them, and the same workflows as the page queues them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recache.policies import policy_file
from tests.hosting.session import ROOT

NODE, WORKFLOW = "8", "planning"
PAGE = {"extra_pnginfo": {"workflow": {"id": WORKFLOW, "nodes": []}}}  # what a page queues along with a prompt
SETTINGS = {"budget": 0.3, "policy": "auto", "evaluations": "", "mechanism": "taylor", "order": 1,
            "cache_point": "auto"}
LOADER = {"type": "UNETLoader", "inputs": {"unet_name": "plan_flux.safetensors", "weight_dtype": "default"}}


def save_variants(folder: Path, **variants: dict) -> None:
    """Saves the demo FLUX model's shipped policy under these names, with these values in what it says of itself."""
    file = policy_file.load("demo-flux-taylor1.safetensors", ROOT / "policies" / "shipped")
    for name, changed in variants.items():
        policy_file.save(folder / f"{name}.safetensors", replace(file, about=replace(file.about, name=name, **changed)))


def shifted(shift: float) -> dict:
    return {"type": "ModelSamplingAuraFlow", "inputs": {"shift": shift, "model": LOADER}}


def budget(model: dict) -> dict:
    return {"type": "ReCacheBudget", "inputs": {"model": model}}


def ksampler(model=LOADER, **changed) -> dict:
    return {"type": "KSampler", "inputs": {
        "steps": 10, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, "model": budget(model), **changed}}


def asked(sampler, settings=None, **more) -> dict:
    return {"workflow": WORKFLOW, "node": NODE, "settings": SETTINGS | (settings or {}), "sampler": sampler} | more


def deep(levels: int) -> dict:
    tree = LOADER
    for _ in range(levels):
        tree = budget(tree)
    return tree


def queued(sampler: dict, settings: dict, model: dict) -> dict:
    """The workflow of a description, as the page queues it, with ReCache Report's JSON at node "json"."""
    nodes = {
        "1": {"class_type": "UNETLoader", "inputs": LOADER["inputs"]},
        "positive": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a dog", "model": "flux"}},
        "negative": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "", "model": "flux"}},
        "latent": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        NODE: {"class_type": "ReCacheBudget", "inputs": {**settings, "model": ["1", 0]}},
    }
    if model is not LOADER:
        nodes["2"] = {"class_type": model["type"], "inputs": {**model["inputs"], "model": ["1", 0]}}
        nodes[NODE]["inputs"]["model"] = ["2", 0]
    values = {name: value for name, value in sampler["inputs"].items() if not isinstance(value, dict)}
    conds = {"positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0], "cfg": 1.5}
    if sampler["type"] == "SamplerCustom":
        for name in ("sampler", "sigmas"):
            node = sampler["inputs"][name]
            links = {key: [NODE, 0] for key, value in node["inputs"].items() if isinstance(value, dict)}
            nodes[name] = {"class_type": node["type"], "inputs": {**node["inputs"], **links}}
            values[name] = [name, 0]
        conds |= {"add_noise": True, "noise_seed": 3}
    elif sampler["type"] == "KSamplerAdvanced":
        conds |= {"add_noise": "enable", "noise_seed": 3}
    else:
        conds |= {"seed": 3}
    nodes["sampling"] = {"class_type": sampler["type"], "inputs": {**values, **conds, "model": [NODE, 0]}}
    nodes["report"] = {"class_type": "ReCacheReport", "inputs": {"samples": ["sampling", 0], "model": [NODE, 0]}}
    return nodes | {"json": {"class_type": "PreviewAny", "inputs": {"source": ["report", 3]}}}


ADVANCED = {"type": "KSamplerAdvanced", "inputs": {
    "steps": 12, "sampler_name": "euler", "scheduler": "simple", "start_at_step": 2, "end_at_step": 9,
    "return_with_leftover_noise": "disable", "model": budget(LOADER)}}
CUSTOM = {"type": "SamplerCustom", "inputs": {
    "model": budget(LOADER),
    "sampler": {"type": "KSamplerSelect", "inputs": {"sampler_name": "dpmpp_2m"}},
    "sigmas": {"type": "BasicScheduler", "inputs": {
        "scheduler": "beta", "steps": 8, "denoise": 0.7, "model": budget(LOADER)}}}}
