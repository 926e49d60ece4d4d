"""ReCache for ComfyUI: choose how much of a sampling run is computed; the rest is forecast."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
