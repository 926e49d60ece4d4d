"""A small convolutional autoencoder, f8, 16 latent channels, with TAESD's key names so that stock loaders accept it.

Layout after TAESD (Ollin Boer Bohan, MIT): plain residual convolution blocks of 64 channels, no attention, no norms.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

LATENT_CHANNELS = 16
# The host maps a Flux latent from the model's space to the autoencoder's with x / scale + shift; the stored
# vae_scale and vae_shift undo it, so encoder and decoder work in the space that the diffusion model samples in.
FLUX_SCALE, FLUX_SHIFT = 0.3611, 0.1159
_WIDTH = 64


class SoftClamp(nn.Module):
    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return 3 * torch.tanh(z / 3)


class ResidualBlock(nn.Module):
    """Keys `conv.0`, `conv.2`, `conv.4`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.conv(x))


def _encoder() -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(3, _WIDTH, 3, padding=1), ResidualBlock()]
    for _ in range(3):
        layers.append(nn.Conv2d(_WIDTH, _WIDTH, 3, stride=2, padding=1, bias=False))
        layers += [ResidualBlock() for _ in range(3)]
    return nn.Sequential(*layers, nn.Conv2d(_WIDTH, LATENT_CHANNELS, 3, padding=1))


def _decoder() -> nn.Sequential:
    layers: list[nn.Module] = [SoftClamp(), nn.Conv2d(LATENT_CHANNELS, _WIDTH, 3, padding=1), nn.ReLU()]
    for _ in range(3):
        layers += [ResidualBlock() for _ in range(3)]
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, ResidualBlock(), nn.Conv2d(_WIDTH, 3, 3, padding=1))


class Autoencoder(nn.Module):
    """Images [B, 3, H, W] in 0..1 <-> latents [B, 16, H/8, W/8] with about zero mean and unit variance."""

    def __init__(self) -> None:
        super().__init__()
        self.taesd_encoder = _encoder()
        self.taesd_decoder = _decoder()
        self.register_buffer("vae_scale", torch.tensor(FLUX_SCALE))
        self.register_buffer("vae_shift", torch.tensor(FLUX_SHIFT))

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return self.taesd_encoder(image)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        return self.taesd_decoder(latent)


def loss(model: Autoencoder, image: torch.Tensor, latent_noise: float = 0.15) -> tuple[torch.Tensor, torch.Tensor]:
    """Training loss, and the mean squared error without noise (for the PSNR).

    The latent gets noise before it is decoded, so that small errors of the diffusion model do not show, and a
    half-size latent must decode to the half-size picture, which makes the latents smooth and easy to model.
    """
    latent = model.encode(image)
    flat = latent.float().permute(1, 0, 2, 3).flatten(1)
    unit = (flat.mean(1) ** 2).mean() + ((flat.std(1) - 1) ** 2).mean()
    decoded = model.decode(latent + latent_noise * torch.randn_like(latent) * torch.rand_like(latent[:, :1, :1, :1]))
    small = model.decode(F.avg_pool2d(latent, 2))

    def distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        edges = sum((a.diff(dim=d) - b.diff(dim=d)).abs().mean() for d in (-1, -2))
        return (a - b).abs().mean() + 4 * ((a - b) ** 2).mean() + edges

    total = distance(decoded.float(), image) + 0.25 * distance(small.float(), F.avg_pool2d(image, 2)) + 0.1 * unit
    return total, ((decoded.detach().float() - image) ** 2).mean()
