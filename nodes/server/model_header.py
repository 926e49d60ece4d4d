"""A MODEL without weights, with architecture and noise schedule as the header of its file gives them."""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from pathlib import Path

import comfy.model_detection
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch

log = logging.getLogger(__name__)

# The loader's input that names the file: ComfyUI's folder of such files.
FOLDERS = {"unet_name": "diffusion_models", "ckpt_name": "checkpoints"}
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}


def model(inputs: dict) -> comfy.model_patcher.ModelPatcher | None:
    """The MODEL that a loader node with these inputs would load, on the meta device; None if it is not known."""
    for name, kind in FOLDERS.items():
        file = inputs.get(name)
        path = folder_paths.get_full_path(kind, file) if isinstance(file, str) else None
        if path is not None and path.endswith((".safetensors", ".sft")):
            return _model(path, Path(path).stat().st_mtime_ns)
    return None


@lru_cache(maxsize=8)
def _model(path: str, changed: int) -> comfy.model_patcher.ModelPatcher | None:
    try:
        return _from_header(path)
    except Exception:  # the file may be anything, and a plan works without a model
        log.debug("ReCache: the header of %s does not tell the model.", path, exc_info=True)
        return None


def _from_header(path: str) -> comfy.model_patcher.ModelPatcher | None:
    encoded = comfy.utils.safetensors_header(path)
    if encoded is None:  # longer than the format allows
        return None
    header = json.loads(encoded)
    metadata = header.pop("__metadata__", {})
    weights = {name: torch.empty(entry["shape"], dtype=_DTYPES.get(entry["dtype"], torch.float32), device="meta")
               for name, entry in header.items()}
    prefix = comfy.model_detection.unet_prefix_from_state_dict(weights)
    weights = comfy.utils.state_dict_prefix_replace(weights, {prefix: ""}, filter_keys=True) or weights
    config = comfy.model_detection.model_config_from_unet(weights, "", metadata=metadata)
    if config is None:
        return None
    config.set_inference_dtype(torch.float32, None)
    cpu = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(
        config.get_model(weights, "", device="meta"), load_device=cpu, offload_device=cpu)
