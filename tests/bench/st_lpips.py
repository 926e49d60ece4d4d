"""ST-LPIPS: the shift-tolerant LPIPS distance of Ghildyal and Liu (ECCV 2022, arXiv 2207.13686).

An AlexNet with strides replaced by blurred downsampling, compared layer by layer as in LPIPS. Our own code over the
published weights, which the package ``stlpips_pytorch`` (BSD-2-Clause) carries; none of its code is used.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import files

import torch
import torch.nn.functional as F

BATCH = 8  # pictures at a time; the first layer keeps full resolution
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
WEIGHTS = "weights/vST0.0/alex_shift_tolerant.pth"


@cache
def _weights() -> dict[str, torch.Tensor]:
    path = next(file for file in files("stlpips_pytorch") if file.as_posix().endswith(WEIGHTS))
    return torch.load(path.locate(), map_location=DEVICE, weights_only=True)


def _blur(x: torch.Tensor, name: str) -> torch.Tensor:
    """Binomial filter with stride 2."""
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), _weights()[f"{name}.filt"], stride=2, groups=x.shape[1])


def _conv(x: torch.Tensor, name: str, padding: int) -> torch.Tensor:
    return F.conv2d(x, _weights()[f"{name}.weight"], _weights()[f"{name}.bias"], padding=padding)


def _features(image: torch.Tensor) -> list[torch.Tensor]:
    """Unit-length features of the five layers; image [B, 3, H, W] in [-1, 1]."""
    w = _weights()
    x = (image - w["scaling_layer.shift"]) / w["scaling_layer.scale"]
    x = _blur(_conv(x, "net.slice1.0", 2), "net.slice1.1").relu()
    features = [x]
    x = _conv(_blur(F.max_pool2d(x, 3, 1), "net.slice2.4"), "net.slice2.5", 2).relu()
    features.append(x)
    x = _conv(_blur(F.max_pool2d(x, 3, 1), "net.slice3.8"), "net.slice3.9", 1).relu()
    features.append(x)
    for name in ("net.slice4.11", "net.slice5.13"):
        x = _conv(x, name, 1).relu()
        features.append(x)
    return [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in features]


@torch.inference_mode()
def features(pictures: torch.Tensor) -> list[torch.Tensor]:
    """What the distance compares, of pictures [B, 3, H, W] in [0, 1], H and W at least 64."""
    parts = [_features(2 * part.float().to(DEVICE) - 1) for part in pictures.split(BATCH)]
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


@torch.inference_mode()
def distance(a: list[torch.Tensor], b: list[torch.Tensor]) -> torch.Tensor:
    """Distance of two batches of pictures by their `features`: [B], 0 for equal ones."""
    total = torch.zeros(a[0].shape[0])
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        total += F.conv2d((x - y).square(), _weights()[f"lin{i}.model.1.weight"]).mean((1, 2, 3)).cpu()
    return total


def st_lpips(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Distance of two batches of pictures, [B, 3, H, W] in [0, 1], H and W at least 64: [B], 0 for equal ones."""
    return torch.cat([distance(features(x), features(y)) for x, y in zip(a.split(BATCH), b.split(BATCH), strict=True)])
