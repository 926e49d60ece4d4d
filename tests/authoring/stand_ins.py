"""Tiny models of the right architecture under the file names that the workflows ask for.

Text encoders and CLIP vision models can't be tiny, because the host fixes their widths: their files are empty, and the
nodes that would read them are replaced where a workflow is run (see tests/test_workflows.py).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.authoring.catalogue import WORKFLOWS
from tests.tiny.families import FAMILIES
from tests.tiny.weights import random_weights
from tests.trained import train

TRAINED = Path(train.__file__).parent / "weights"
# File name -> the trained demo model, the family and its expert, or what makes it.
_DEMO = {
    "flux1-dev.safetensors": "flux", "flux1-dev-kontext_fp8_scaled.safetensors": "flux",
    "wan2.1_t2v_1.3B_fp16.safetensors": "wan", "ae.safetensors": "autoencoder",
}
_FAMILIES = {
    "flux2_dev_fp8mixed.safetensors": ("flux2", 0),
    "wan2.1_i2v_480p_14B_fp16.safetensors": ("wan21_i2v", 0),
    "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors": ("wan22_14b", 0),
    "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors": ("wan22_14b", 1),
    "hunyuan_video_t2v_720p_bf16.safetensors": ("hunyuan_video", 0),
    "qwen_image_2512_fp8_e4m3fn.safetensors": ("qwen_image", 0),
    "z_image_bf16.safetensors": ("z_image", 0),
    "krea2_turbo_fp8_scaled.safetensors": ("krea2", 0),
    "flux-2-klein-base-4b.safetensors": ("flux2", 0),
    "minimax_h3_fl2va_pruned_int8_convrot.safetensors": ("minimax_h3", 0),
    "ltx-2-19b-dev-fp8.safetensors": ("ltxav", 0),
    "ltx-2.3-22b-dev-fp8.safetensors": ("ltxav23", 0),
    "qwen_image_edit_2511_fp8mixed.safetensors": ("qwen_image_edit", 0),
    "anima-base-v1.0.safetensors": ("anima", 0),
    "wan2.1_14B_SCAIL_2_fp16.safetensors": ("wan21_scail2", 0),
    "wan2.2_bernini_r_high_noise_fp8_scaled.safetensors": ("wan22_14b", 0),
    "wan2.2_bernini_r_low_noise_fp8_scaled.safetensors": ("wan22_14b", 1),
}
# Qwen-Image's is built like Wan's.
_WAN_VAES = ("wan_2.1_vae.safetensors", "Wan2_1_VAE_bf16.safetensors", "qwen_image_vae.safetensors")
_SDXL = ("sd_xl_base_1.0.safetensors", "sd_xl_refiner_1.0.safetensors")  # one file, an SDXL base, twice


def make(models: Path, work: Path) -> None:
    """Writes the stand-ins into a models folder; `work` is a folder for what is made on the way."""
    for file in {file for workflow in WORKFLOWS for file in workflow.files}:
        path = models / file.directory / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        if file.name in _DEMO:
            shutil.copy(TRAINED / f"{_DEMO[file.name]}.safetensors", path)
        elif file.name in _FAMILIES and _known(_FAMILIES[file.name][0]):
            family, expert = _FAMILIES[file.name]
            made = FAMILIES[family].write(work)[expert]
            if file.directory == "checkpoints":
                save_file(_in_checkpoint(load_file(made)), path)
            else:
                shutil.copy(made, path)
        elif file.name in _WAN_VAES:
            save_file(_wan_vae(), path)
        elif file.name not in _SDXL:
            path.touch()
    _checkpoint(models / "checkpoints" / _SDXL[0], work)
    os.link(models / "checkpoints" / _SDXL[0], models / "checkpoints" / _SDXL[1])


def _known(family: str) -> bool:
    """Whether this ComfyUI has the network; of a newer one's the file stays empty."""
    import comfyui_version

    here, since = (tuple(map(int, version.split(".")[:3]))
                   for version in (comfyui_version.__version__, FAMILIES[family].host_since))
    return here >= since


def _wan_vae() -> dict[str, torch.Tensor]:
    """Wan's video autoencoder, 8 channels wide: the host reads the width from the file."""
    from comfy.ldm.wan.vae import WanVAE

    with torch.device("meta"):
        like = WanVAE(dim=8, z_dim=16, temperal_downsample=[False, True, True]).state_dict()
    return random_weights(like, 0)


def _in_checkpoint(network: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A network's weights under the names that they have in a checkpoint."""
    return {f"model.diffusion_model.{name}": value for name, value in network.items()}


def _checkpoint(path: Path, work: Path) -> None:
    """A checkpoint of SDXL's network and a small autoencoder, without text encoders; half precision, 150 MB."""
    from comfy.taesd.taesd import TAESD

    weights = _in_checkpoint(load_file(FAMILIES["sdxl"].write(work)[0]))
    with torch.device("meta"):
        autoencoder = TAESD(latent_channels=4).state_dict()
    weights |= {f"first_stage_model.{name}": value for name, value in random_weights(autoencoder, 0).items()}
    save_file({name: value.half().contiguous() for name, value in weights.items()}, path)
