"""Live previews of the runs that ReCache Frontier and Train make, by ComfyUI's own previewer and event."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import comfy.utils
import latent_preview
import torch

SECONDS = 0.5  # at least, between two


def previews(model, bar: comfy.utils.ProgressBar) -> Callable[[torch.Tensor], None] | None:
    """What shows a denoised latent of the MODEL on the bar's node; None where previews are switched off in ComfyUI."""
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    if previewer is None:
        return None
    shown = [-math.inf]

    def show(denoised: torch.Tensor) -> None:
        if time.monotonic() - shown[0] < SECONDS:
            return
        shown[0] = time.monotonic()
        bar.update_absolute(bar.current, preview=previewer.decode_latent_to_preview_image("JPEG", denoised))

    return show
