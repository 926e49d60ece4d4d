"""A trainable FLUX-architecture network (Black Forest Labs' published layout) with FLUX's key names.

Activations are never updated in place, so that it can be trained; the tests check it against ComfyUI's network.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from tests.trained.autoencoder import LATENT_CHANNELS

HEAD_DIM = 128
ROPE_AXES = (16, 56, 56)
PATCH = 2
NORM_EPS = 1e-6
HEAD_NORM_EPS = 1.1920929e-07  # float32 machine epsilon, whatever the training precision is


def rope_angles(positions: torch.Tensor, axes: tuple[int, ...], theta: float = 10000.0) -> torch.Tensor:
    """Rotation angles [tokens, sum(axes) / 2] for integer positions [tokens, len(axes)]."""
    parts = []
    for axis, dim in enumerate(axes):
        frequency = theta ** (-torch.arange(0, dim, 2, device=positions.device, dtype=torch.float64) / dim)
        parts.append(positions[:, axis : axis + 1].double() * frequency)
    return torch.cat(parts, dim=1).float()


def rotate(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    """Rotate neighbouring channel pairs of x [..., tokens, dim] by angles [tokens, dim / 2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2).to(x.dtype)


def timestep_features(time: torch.Tensor, dim: int = 256) -> torch.Tensor:
    """Cosines then sines [B, dim] of the time [B] (0..1000) at geometric frequencies from 1 down to 1e-4."""
    frequency = torch.exp(-math.log(10000) * torch.arange(dim // 2, device=time.device) / (dim // 2))
    angle = time[:, None].float() * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=1)


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


class Embedder(nn.Module):
    def __init__(self, dim_in: int, dim: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(dim_in, dim)
        self.out_layer = nn.Linear(dim, dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out_layer(F.silu(self.in_layer(x)))


class Modulation(nn.Module):
    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        self.lin = nn.Linear(dim, count * dim)
        self.count = count

    def forward(self, vec: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.lin(F.silu(vec))[:, None].chunk(self.count, dim=-1)


class HeadNorm(nn.Module):
    """Root-mean-square norm of each query and key head (keys `query_norm.scale`, `key_norm.scale`)."""

    class _Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(HEAD_DIM))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.rms_norm(x, (HEAD_DIM,), self.scale.to(x.dtype), HEAD_NORM_EPS)

    def __init__(self) -> None:
        super().__init__()
        self.query_norm = self._Scale()
        self.key_norm = self._Scale()

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.query_norm(q), self.key_norm(k)


def split_heads(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """[B, tokens, 3 * dim] -> three of [B, heads, tokens, HEAD_DIM]."""
    return qkv.unflatten(-1, (3, -1, HEAD_DIM)).permute(2, 0, 3, 1, 4).unbind(0)


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    out = F.scaled_dot_product_attention(rotate(q, angles).to(v.dtype), rotate(k, angles).to(v.dtype), v)
    return out.transpose(1, 2).flatten(2)


class StreamAttention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.norm = HeadNorm()
        self.proj = nn.Linear(dim, dim)

    def heads(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = split_heads(self.qkv(x))
        return (*self.norm(q, k), v)


def mlp(dim: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(approximate="tanh"), nn.Linear(4 * dim, dim))


class DoubleBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.img_mod, self.txt_mod = Modulation(dim, 6), Modulation(dim, 6)
        self.img_attn, self.txt_attn = StreamAttention(dim), StreamAttention(dim)
        self.img_mlp, self.txt_mlp = mlp(dim), mlp(dim)

    def forward(
        self, img: torch.Tensor, txt: torch.Tensor, vec: torch.Tensor, angles: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mod = {"img": self.img_mod(vec), "txt": self.txt_mod(vec)}
        img_heads = self.img_attn.heads(modulate(img, *mod["img"][:2]))
        txt_heads = self.txt_attn.heads(modulate(txt, *mod["txt"][:2]))
        joint = attend(*(torch.cat(pair, dim=2) for pair in zip(txt_heads, img_heads, strict=True)), angles)
        txt_out, img_out = joint.split((txt.shape[1], img.shape[1]), dim=1)
        img = img + mod["img"][2] * self.img_attn.proj(img_out)
        txt = txt + mod["txt"][2] * self.txt_attn.proj(txt_out)
        img = img + mod["img"][5] * self.img_mlp(modulate(img, *mod["img"][3:5]))
        txt = txt + mod["txt"][5] * self.txt_mlp(modulate(txt, *mod["txt"][3:5]))
        return img, txt


class SingleBlock(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, 7 * dim)
        self.linear2 = nn.Linear(5 * dim, dim)
        self.norm = HeadNorm()
        self.modulation = Modulation(dim, 3)

    def forward(self, x: torch.Tensor, vec: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        shift, scale, gate = self.modulation(vec)
        dim = x.shape[-1]
        qkv, hidden = self.linear1(modulate(x, shift, scale)).split((3 * dim, 4 * dim), dim=-1)
        q, k, v = split_heads(qkv)
        q, k = self.norm(q, k)
        return x + gate * self.linear2(torch.cat((attend(q, k, v, angles), F.gelu(hidden, approximate="tanh")), dim=-1))


class FinalLayer(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, out)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(dim, 2 * dim))

    def forward(self, x: torch.Tensor, vec: torch.Tensor) -> torch.Tensor:
        return self.linear(modulate(x, *self.adaLN_modulation(vec)[:, None].chunk(2, dim=-1)))


class Flux(nn.Module):
    """Velocity network: latent [B, 16, h, w], time [B] in 0..1, tokens [B, T, context], pooled [B, pooled]."""

    def __init__(self, dim: int, double: int, single: int, context: int, pooled: int) -> None:
        super().__init__()
        channels = LATENT_CHANNELS * PATCH**2
        self.img_in = nn.Linear(channels, dim)
        self.txt_in = nn.Linear(context, dim)
        self.time_in = Embedder(256, dim)
        self.vector_in = Embedder(pooled, dim)
        self.double_blocks = nn.ModuleList(DoubleBlock(dim) for _ in range(double))
        self.single_blocks = nn.ModuleList(SingleBlock(dim) for _ in range(single))
        self.final_layer = FinalLayer(dim, channels)
        modulations = [module.lin for module in self.modules() if isinstance(module, Modulation)]
        for layer in (*modulations, self.final_layer.adaLN_modulation[1], self.final_layer.linear):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, latent: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor, pooled: torch.Tensor
    ) -> torch.Tensor:
        rows, columns = latent.shape[2] // PATCH, latent.shape[3] // PATCH
        patches = latent.unflatten(2, (rows, PATCH)).unflatten(4, (columns, PATCH))
        img = self.img_in(patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2))
        txt = self.txt_in(tokens)
        vec = self.time_in(timestep_features(1000 * time).to(img.dtype)) + self.vector_in(pooled)

        grid = torch.cartesian_prod(*(torch.arange(n, device=latent.device) for n in (1, rows, columns)))
        positions = torch.cat((torch.zeros(txt.shape[1], 3, device=latent.device, dtype=grid.dtype), grid))
        angles = rope_angles(positions, ROPE_AXES)
        for block in self.double_blocks:
            img, txt = block(img, txt, vec, angles)
        joint = torch.cat((txt, img), dim=1)
        for block in self.single_blocks:
            joint = block(joint, vec, angles)
        out = self.final_layer(joint[:, txt.shape[1] :], vec)
        out = out.unflatten(2, (LATENT_CHANNELS, PATCH, PATCH)).unflatten(1, (rows, columns))
        return out.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
