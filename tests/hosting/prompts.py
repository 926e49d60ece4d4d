"""Workflows of the demo models that several tests queue, in API format."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.trained import WEIGHTS

TRAINING_STEPS = 12


def install_models(models: Path) -> None:
    """Copies the demo FLUX model and its VAE into a models folder, as demo_flux and demo_autoencoder."""
    for name, folder in (("flux", "diffusion_models"), ("autoencoder", "vae")):
        shutil.copy(WEIGHTS / f"{name}.safetensors", models / folder / f"demo_{name}.safetensors")


def training(**train) -> dict:
    """Loaders, prompts and ReCache Train (node 5) with ReCache Save Policy."""
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "demo_flux.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a dog on a blue background", "model": "flux"}},
        "3": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "", "model": "flux"}},
        "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "5": {"class_type": "ReCacheTrain", "inputs": {
            "model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 1,
            "steps": TRAINING_STEPS, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0,
            "budgets": "0.35, 0.5", "samples": 1, "evaluations": 100, "minutes": 1.0, "mechanism": "taylor", "order": 1,
            "cache_point": "blocks", "distance": "auto", "reward": "none", "alpha": 0.1, **train}},
        "6": {"class_type": "ReCacheSavePolicy", "inputs": {"policy": ["5", 0], "name": "mine", "notes": "a test"}},
    }


def sampling(policy, budget_node="8", **options) -> dict:
    """Six Euler steps of the demo model under ReCache, with ReCache Report (node 10)."""
    return {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "demo_flux.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a dog", "model": "flux"}},
        "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        budget_node: {"class_type": "ReCacheBudget", "inputs": {
            "model": ["1", 0], "budget": 0.5, "policy": policy, **options}},
        "9": {"class_type": "KSampler", "inputs": {
            "model": [budget_node, 0], "positive": ["2", 0], "negative": ["2", 0], "latent_image": ["4", 0], "seed": 1,
            "steps": 6, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}},
        "10": {"class_type": "ReCacheReport", "inputs": {"samples": ["9", 0], "model": [budget_node, 0]}},
    }
