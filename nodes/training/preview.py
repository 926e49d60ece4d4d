"""Live previews of the runs that ReCache Frontier and Train make, by ComfyUI's own previewer.

They are sent as an event of the pack: a preview of ComfyUI's own would stay on the node once it has run, in place of
the picture that the node makes.
"""

from __future__ import annotations

import base64
import math
import time
from collections.abc import Callable
from io import BytesIO

import latent_preview
import torch
from PIL import Image, ImageOps

SECONDS = 0.5  # at least, between two


def previews(model, show: Callable[[str], None]) -> Callable[[torch.Tensor], None] | None:
    """What shows a denoised latent of the MODEL; None where previews are switched off in ComfyUI.

    Args:
        show: gets the picture as a data URL.
    """
    previewer = latent_preview.get_previewer(model.load_device, model.model.latent_format)
    if previewer is None:
        return None
    shown = [-math.inf]

    def preview(denoised: torch.Tensor) -> None:
        if time.monotonic() - shown[0] < SECONDS:
            return
        shown[0] = time.monotonic()
        made = previewer.decode_latent_to_preview_image("JPEG", denoised)
        if made is not None:  # another pack's previewer may show its own
            show(_data_url(*made[1:]))

    return preview


def _data_url(picture: Image.Image, most: int | None) -> str:
    """A JPEG of at most so many pixels a side, as an address."""
    file = BytesIO()
    fitting = picture if most is None else ImageOps.contain(picture, (most, most), Image.Resampling.BILINEAR)
    fitting.convert("RGB").save(file, "JPEG", quality=90)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
