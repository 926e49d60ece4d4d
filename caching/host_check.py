"""Looks, once, for the extension points of ComfyUI that the engine stands on, so that one that moved can be named."""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module

from .reasons import Reason

# Where they lie, and of functions the parameters by which they are called, in order.
EXTENSION_POINTS: dict[str, tuple[str, ...]] = {
    "comfy.patcher_extension WrappersMP.OUTER_SAMPLE": (),
    "comfy.patcher_extension WrappersMP.PREDICT_NOISE": (),
    "comfy.patcher_extension WrappersMP.CALC_COND_BATCH": (),
    "comfy.patcher_extension WrappersMP.APPLY_MODEL": (),
    "comfy.patcher_extension WrappersMP.DIFFUSION_MODEL": (),
    "comfy.patcher_extension WrappersMP.SAMPLER_SAMPLE": (),
    "comfy.model_patcher create_model_options_clone": ("orig_model_options",),
    "comfy.model_patcher ModelPatcher.clone": ("self",),
    "comfy.model_patcher ModelPatcher.add_wrapper_with_key": ("self", "wrapper_type", "key", "wrapper"),
    "comfy.model_patcher ModelPatcher.remove_wrappers_with_key": ("self", "wrapper_type", "key"),
    "comfy.model_patcher ModelPatcher.get_wrappers": ("self", "wrapper_type", "key"),
    "comfy.model_patcher ModelPatcher.get_model_object": ("self", "name"),
    "comfy.model_patcher ModelPatcher.prepare_hook_patches_current_keyframe": (
        "self", "t", "hook_group", "model_options"),
    "comfy.samplers CFGGuider.outer_sample": (
        "self", "noise", "latent_image", "sampler", "sigmas", "denoise_mask"),
    "comfy.samplers CFGGuider.predict_noise": ("self", "x", "timestep", "model_options", "seed"),
    "comfy.samplers calc_cond_batch": ("model", "conds", "x_in", "timestep", "model_options"),
    "comfy.samplers calculate_start_end_timesteps": ("model", "conds"),
    "comfy.samplers get_area_and_mult": ("conds", "x_in", "timestep_in"),
    "comfy.samplers cfg_function": ("model", "cond_pred", "uncond_pred", "cond_scale", "x", "timestep"),
    "comfy.model_base BaseModel._apply_model": (
        "self", "x", "t", "c_concat", "c_crossattn", "control", "transformer_options"),
    "comfy.latent_formats LatentFormat": (),
    "comfy.supported_models_base BASE": (),
    "comfy.model_management InterruptProcessingException": (),
    "comfy.model_management OOM_EXCEPTION": (),
}


def obstacle() -> Reason | None:
    """Why nothing can be cached under this ComfyUI; None where everything is in its place."""
    return Reason("host_moved", {"points": ", ".join(moved())}) if moved() else None


@cache
def moved() -> tuple[str, ...]:
    """The extension points that this ComfyUI does not have, or calls otherwise, like "comfy.samplers cfg_function"."""
    return tuple(point for point, parameters in EXTENSION_POINTS.items() if not _is_there(point, parameters))


def _is_there(point: str, parameters: tuple[str, ...]) -> bool:
    module, names = point.split()
    try:
        found = import_module(module)
        for name in names.split("."):
            found = getattr(found, name)
        return tuple(inspect.signature(found).parameters)[: len(parameters)] == parameters if parameters else True
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
