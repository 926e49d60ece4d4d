"""What the host's text and image nodes would put beside the text embedding of each family, from random numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

# (generator, batch, latent shape without the batch axis) -> the dict of one CONDITIONING entry
Extras = Callable[[torch.Generator, int, tuple[int, ...]], dict[str, Any]]


def normal(generator: torch.Generator, *shape: int) -> torch.Tensor:
    """Standard normal numbers, float32."""
    return torch.randn(shape, generator=generator)


def nothing(generator: torch.Generator, batch: int, latent: tuple[int, ...]) -> dict[str, Any]:
    """Only the text embedding: Chroma, Wan text to video, Qwen-Image, Lumina 2, SD1.5."""
    return {}


def pooled(channels: int, **values: Any) -> Extras:
    """A pooled text embedding (batch, channels), and constants such as ``guidance=3.5``."""

    def extras(generator: torch.Generator, batch: int, latent: tuple[int, ...]) -> dict[str, Any]:
        return {"pooled_output": normal(generator, batch, channels), **values}

    return extras


def constant(**values: Any) -> Extras:
    """Constants only, such as ``frame_rate=25``."""
    return lambda generator, batch, latent: dict(values)


def seen_frame(generator: torch.Generator, batch: int, latent: tuple[int, ...]) -> dict[str, Any]:
    """CLIP-vision features of a picture."""
    from comfy.clip_vision import Output

    seen = Output()
    seen.penultimate_hidden_states = normal(generator, 1, 257, 1280)
    return {"clip_vision_output": seen}


def first_frame(generator: torch.Generator, batch: int, latent: tuple[int, ...]) -> dict[str, Any]:
    """Wan image to video: a latent video whose first frame is given, its mask (1: to make), CLIP-vision features."""
    channels, frames, height, width = latent
    mask = torch.ones(1, 1, frames, height, width)
    mask[:, :, 0] = 0
    return {
        **seen_frame(generator, batch, latent),
        "concat_latent_image": normal(generator, 1, channels, frames, height, width),
        "concat_mask": mask,
    }


def control_video(generator: torch.Generator, batch: int, latent: tuple[int, ...]) -> dict[str, Any]:
    """Wan VACE: one control video as kept and changed parts (32 channels), its mask by 8x8 pixels (64 channels)."""
    channels, frames, height, width = latent
    return {
        "vace_frames": [normal(generator, 1, 2 * channels, frames, height, width)],
        "vace_mask": [torch.ones(1, 64, frames, height, width)],
        "vace_strength": [0.7],
    }


class Normal(tuple):
    """A shape that `given` fills with normal numbers."""


def given(**values: Any) -> Extras:
    """Values of any kind; normal numbers for a `Normal`, also in a list."""

    def extras(generator: torch.Generator, batch: int, latent: tuple[int, ...]) -> dict[str, Any]:
        def filled(value: Any) -> Any:
            if isinstance(value, list):
                return list(map(filled, value))
            return normal(generator, *value) if isinstance(value, Normal) else value

        return {name: filled(value) for name, value in values.items()}

    return extras


def both(first: Extras, second: Extras) -> Extras:
    """What `first` and `second` give."""
    return lambda *args: {**first(*args), **second(*args)}
