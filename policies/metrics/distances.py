"""d(x_cache, x_full): how far a cached output is from the uncached one. In float32; lower is better.

Pictures are as ComfyUI has them: [batch, height, width, channels] in 0..1, and videos [batch, frames, height, width,
channels], which are compared frame by frame and averaged.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

MAX_PSNR = 100.0
_ALEXNET = "alexnet-owt-7be5be79.pth"


class DistanceError(ValueError):
    """A distance that can't be computed here; the message is one sentence for the artist."""


class LpipsMissing(DistanceError):
    """LPIPS is not available.

    Args:
        code: why, for those who word it in another language. message: in English. fields: what the sentence names.
    """

    def __init__(self, code: str, message: str, **fields: str):
        super().__init__(message)
        self.code, self.fields = code, fields


class Distance(Protocol):
    """A distance between outputs."""

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Tensors of the same shape [batch, ...] -> distances [batch], float32.

        Raises:
            DistanceError: tensors of different or unfit shapes.
        """
        ...


def latent_mse(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error of latents (or of anything else), [batch, ...] -> [batch]."""
    _same_shape(a, b)
    return (a.float() - b.float()).square().flatten(1).mean(1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Minus the peak signal-to-noise ratio in dB of pictures or videos in 0..1, at least -100 (equal pictures)."""
    return _frame_by_frame(lambda x, y: 10.0 * latent_mse(x, y).clamp(min=10 ** (-MAX_PSNR / 10)).log10(), a, b)


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """1 - SSIM of pictures or videos in 0..1 (Wang et al. 2004: 11 x 11 Gaussian window, sigma 1.5): 0 to 2.

    Raises:
        DistanceError: likewise for pictures smaller than 11 x 11.
    """
    return _frame_by_frame(_ssim, a, b)


def _ssim(x: Tensor, y: Tensor) -> Tensor:
    if min(x.shape[-2:]) < 11:
        raise DistanceError("SSIM needs pictures of at least 11 x 11 pixels; choose another distance.")
    offset = torch.arange(-5.0, 6.0, device=x.device)
    window = torch.exp(-(offset**2) / (2 * 1.5**2))
    window = window / window.sum()

    def blur(z: Tensor) -> Tensor:
        z = z.flatten(0, 1).unsqueeze(1)
        z = functional.conv2d(functional.conv2d(z, window.view(1, 1, 11, 1)), window.view(1, 1, 1, 11))
        return z.unflatten(0, x.shape[:2]).squeeze(2)

    mean_x, mean_y = blur(x), blur(y)
    variance_x, variance_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    return 1.0 - (luminance * structure).flatten(1).mean(1)


class LPIPS:
    """LPIPS with AlexNet (Zhang et al. 2018, arXiv 1801.03924) of RGB pictures or videos in 0..1: 0 and up.

    The heads come with the `lpips` package; AlexNet comes from the user's torch cache, and is not downloaded.

    Raises:
        LpipsMissing: no `lpips` package, or no AlexNet in the cache.
    """

    def __init__(self) -> None:
        try:
            import lpips
        except ImportError as error:
            raise LpipsMissing("lpips_no_package",
                               "LPIPS needs the package lpips; run pip install lpips, or use SSIM.") from error
        path = Path(torch.hub.get_dir(), "checkpoints", _ALEXNET)
        if not path.is_file():
            raise LpipsMissing(
                "lpips_no_alexnet",
                f"LPIPS needs AlexNet, a download of 233 MB that ReCache does not make by itself; put {_ALEXNET} from "
                f"pytorch.org into the folder {path.parent}, or use SSIM.", file=_ALEXNET, folder=str(path.parent))
        self._model = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval().requires_grad_(False)
        try:
            weights = torch.load(path, map_location="cpu", weights_only=True)
            for name, parameter in self._model.net.named_parameters():  # "slice2.3.weight" is "features.3.weight"
                parameter.copy_(weights["features." + name.split(".", 1)[1]])
        except Exception as error:  # a damaged or foreign file may raise anything
            raise LpipsMissing("lpips_damaged", f"AlexNet's weights in {path} are damaged; download them again.",
                               file=str(path)) from error

    @torch.no_grad()
    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """See Distance."""
        self._model.to(a.device)
        return _frame_by_frame(lambda x, y: self._model(x, y, normalize=True).flatten(), a, b)


def perceptual() -> tuple[Distance, str, LpipsMissing | None]:
    """LPIPS or, where it is not available, its replacement: the distance, its name, and why it is not LPIPS."""
    try:
        return LPIPS(), "LPIPS", None
    except LpipsMissing as error:
        return ssim, "1 - SSIM", error


def _frame_by_frame(distance: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """The mean over frames of distance(x, y), which gets [batch, channels, height, width] float32."""
    _same_shape(a, b)
    if a.ndim not in (4, 5):
        raise DistanceError("This distance compares pictures and videos; decode the latent, or choose latent MSE.")
    if a.ndim == 4:
        a, b = a.unsqueeze(1), b.unsqueeze(1)
    frames = [
        distance(a[:, frame].movedim(-1, 1).float(), b[:, frame].movedim(-1, 1).float()) for frame in range(a.shape[1])
    ]
    return torch.stack(frames).mean(0)


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise DistanceError(
            f"The cached output has the shape {list(a.shape)} and the uncached one {list(b.shape)}; "
            "make both with the same settings."
        )
