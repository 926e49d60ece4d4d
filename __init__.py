"""ReCache for ComfyUI: choose how much of a sampling run is computed; the rest is forecast."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
