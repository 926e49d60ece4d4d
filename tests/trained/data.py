"""The training pictures: Twemoji drawings with names, composited with jitter on plain coloured backgrounds.

`python tests/run.py trained.data OUT.npz` renders the drawings once. It needs `npm` and the Python packages
`resvg_py` and `pillow`, and fetches two npm packages: `@twemoji/svg@15.0.0` (drawings, CC-BY 4.0, see ATTRIBUTION.md)
and `emoji-datasource@16.0.0` (short names and code points, MIT).
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

RENDER_SIZE = 160
PACKAGES = ("@twemoji/svg@15.0.0", "emoji-datasource@16.0.0")
COLOURS = {
    "white": (255, 255, 255),
    "grey": (200, 204, 210),
    "blue": (120, 180, 240),
    "green": (150, 215, 150),
    "yellow": (250, 235, 150),
    "orange": (250, 190, 130),
    "pink": (245, 180, 205),
    "purple": (180, 160, 225),
}
MOTIONS = ("moving left", "moving right", "moving up", "moving down", "growing", "shrinking")
# Every HOLD_OUT_EVERY-th pairing of a picture and a background colour is never trained on.
HOLD_OUT_EVERY = 8


def read_names() -> tuple[list[str], list[str], int]:
    """Short names, caption names, and how many of them (the first block of emoji.txt) the video model learns."""
    short_names, names, video_count = [], [], 0
    for line in (Path(__file__).parent / "emoji.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            video_count = video_count or len(names)
            continue
        short_name, _, name = (part.strip() for part in line.partition("="))
        short_names.append(short_name)
        names.append(name or short_name.replace("_", " "))
    return short_names, names, video_count


def image_caption(name: str, colour: str) -> str:
    return f"a {name} on a {colour} background"


def video_caption(name: str, motion: str, colour: str) -> str:
    return f"a {name} {motion} on a {colour} background"


def is_held_out(picture: int, colour: int) -> bool:
    """Whether the pairing of the picture and the background colour (indices) is kept out of training."""
    return (picture + 3 * colour) % HOLD_OUT_EVERY == 0


def render(out: Path) -> None:
    """Write `rgba` [N, size, size, 4] uint8 (premultiplied alpha) in the order of emoji.txt to an npz file."""
    import resvg_py
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        archives = subprocess.run(
            ["npm", "pack", "--silent", *PACKAGES], cwd=folder, check=True, capture_output=True, text=True
        ).stdout.split()
        for archive in archives:
            with tarfile.open(Path(folder) / archive) as tar:
                tar.extractall(folder, filter="data")
        package = Path(folder) / "package"
        entries = json.loads((package / "emoji.json").read_text())
        code_points = {name: entry["unified"].lower() for entry in entries for name in entry["short_names"]}
        pictures = []
        for short_name in read_names()[0]:
            code = code_points[short_name]
            svg = package / f"{code}.svg"
            if not svg.exists():
                svg = package / f"{code.replace('-fe0f', '').lstrip('0')}.svg"
            png = bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(), width=RENDER_SIZE, height=RENDER_SIZE))
            rgba = np.asarray(Image.open(io.BytesIO(png)).convert("RGBA")).astype(np.float32)
            rgba[..., :3] *= rgba[..., 3:] / 255
            pictures.append(np.round(rgba).astype(np.uint8))
    np.savez_compressed(out, rgba=np.stack(pictures))


def load(path: Path, device: str) -> torch.Tensor:
    """Rendered pictures [N, 4, size, size] float32 in 0..1, premultiplied."""
    return torch.from_numpy(np.load(path)["rgba"]).to(device).permute(0, 3, 1, 2).float() / 255


def composite(
    rgba: torch.Tensor,
    background: torch.Tensor,
    scale: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    angle: torch.Tensor,
    flip: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """Place drawings on plain backgrounds.

    rgba [B, 4, s, s]; background [B, 3] in 0..1; scale = share of the canvas width; x, y = centre, -1..1; angle in
    radians; flip = +1 or -1. Returns [B, 3, size, size] in 0..1. Sampled at twice the size, then averaged (anti-alias).
    """
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    row_x = torch.stack((flip * cos, flip * sin, -flip * (cos * x + sin * y)), dim=1)
    row_y = torch.stack((-sin, cos, sin * x - cos * y), dim=1)
    theta = torch.stack((row_x, row_y), dim=1)
    grid = F.affine_grid(theta, (len(rgba), 4, 2 * size, 2 * size), align_corners=False)
    placed = F.avg_pool2d(F.grid_sample(rgba, grid, align_corners=False), 2)
    return (placed[:, :3] + (1 - placed[:, 3:]) * background[:, :, None, None]).clamp(0, 1)


def _uniform(low: float, high: float, shape, generator: torch.Generator) -> torch.Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def _background(colour: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    palette = torch.tensor(list(COLOURS.values()), device=generator.device) / 255
    jitter = _uniform(-0.015, 0.015, (len(colour), 3), generator)
    return (palette[colour] + jitter).clamp(0, 1)


def sample_images(
    rgba: torch.Tensor, picture: torch.Tensor, colour: torch.Tensor, size: int, generator: torch.Generator,
    scales: tuple[float, float] = (0.7, 0.92),
) -> torch.Tensor:
    """One jittered still [B, 3, size, size] in 0..1 for each pair of picture and background index."""
    count = len(picture)
    scale = _uniform(*scales, (count,), generator)
    room = (1 - scale).clamp(min=0)
    x, y = _uniform(-1, 1, (2, count), generator) * room
    angle = _uniform(-0.14, 0.14, (count,), generator)
    flip = (_uniform(-1, 1, (count,), generator) > 0).float() * 2 - 1
    return composite(rgba[picture], _background(colour, generator), scale, x, y, angle, flip, size)


def sample_clips(
    rgba: torch.Tensor, picture: torch.Tensor, colour: torch.Tensor, motion: torch.Tensor, frames: int, size: int,
    generator: torch.Generator,
) -> torch.Tensor:
    """One jittered clip [B, frames, 3, size, size] in 0..1 for each picture, background and motion index."""
    count = len(picture)
    time = torch.linspace(-1, 1, frames, device=rgba.device)[None]
    scale = _uniform(0.5, 0.6, (count, 1), generator).expand(count, frames)
    reach = _uniform(0.3, 0.4, (count, 1), generator) * time
    x, y = (_uniform(-0.1, 0.1, (count, 1), generator).expand(count, frames) for _ in range(2))
    which = motion[:, None]
    x = torch.where(which == 0, -reach, torch.where(which == 1, reach, x))
    y = torch.where(which == 2, -reach, torch.where(which == 3, reach, y))
    change = 0.25 * time
    scale = torch.where(which == 4, 0.6 + change, torch.where(which == 5, 0.6 - change, scale))
    flip = (_uniform(-1, 1, (count,), generator) > 0).float() * 2 - 1
    flat = composite(
        rgba[picture].repeat_interleave(frames, 0),
        _background(colour, generator).repeat_interleave(frames, 0),
        scale.reshape(-1), x.reshape(-1), y.reshape(-1),
        torch.zeros(count * frames, device=rgba.device),
        flip.repeat_interleave(frames), size,
    )
    return flat.reshape(count, frames, 3, size, size)


if __name__ == "__main__":
    render(Path(sys.argv[1]))
