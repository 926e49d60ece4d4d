"""A trainable Wan-2.1-architecture text-to-video network (Alibaba's published layout) with Wan's key names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.trained.autoencoder import LATENT_CHANNELS
from tests.trained.flux import HEAD_DIM, NORM_EPS, modulate, rope_angles, rotate, timestep_features

# Channels of a head that turn with the frame, the row and the column.
ROPE_AXES = (HEAD_DIM - 4 * (HEAD_DIM // 6), 2 * (HEAD_DIM // 6), 2 * (HEAD_DIM // 6))
PATCH = (1, 2, 2)


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, x.shape[-1:], self.weight.to(x.dtype), NORM_EPS)


class Attention(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim), RMSNorm(dim)

    def forward(self, x: torch.Tensor, source: torch.Tensor, angles: torch.Tensor | None = None) -> torch.Tensor:
        """Attend from x to source; queries and keys are rotated when angles are given (self-attention)."""
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(source)), self.v(source)
        q, k, v = (part.unflatten(-1, (-1, HEAD_DIM)).transpose(1, 2) for part in (q, k, v))
        if angles is not None:
            q, k = rotate(q, angles), rotate(k, angles)
        out = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.o(out.transpose(1, 2).flatten(2))


class Block(nn.Module):
    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = Attention(dim), Attention(dim)
        self.norm3 = nn.LayerNorm(dim, eps=NORM_EPS)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim))
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)

    def forward(
        self, x: torch.Tensor, time: torch.Tensor, context: torch.Tensor, angles: torch.Tensor
    ) -> torch.Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.modulation + time).chunk(6, dim=1)
        normed = modulate(x, shift1, scale1)
        x = x + gate1 * self.self_attn(normed, normed, angles)
        x = x + self.cross_attn(self.norm3(x), context)
        return x + gate2 * self.ffn(modulate(x, shift2, scale2))


class Head(nn.Module):
    def __init__(self, dim: int, out: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, out)
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)

    def forward(self, x: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        return self.head(modulate(x, *(self.modulation + time[:, None]).chunk(2, dim=1)))


class Wan(nn.Module):
    """Velocity network: latent [B, 16, frames, h, w], time [B] in 0..1, tokens [B, T, 4096] (the width is Wan's)."""

    def __init__(self, dim: int, ffn_dim: int, layers: int, context: int = 4096) -> None:
        super().__init__()
        self.patch_embedding = nn.Conv3d(LATENT_CHANNELS, dim, PATCH, stride=PATCH)
        self.text_embedding = nn.Sequential(nn.Linear(context, dim), nn.GELU(approximate="tanh"), nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, ffn_dim) for _ in range(layers))
        self.head = Head(dim, LATENT_CHANNELS * 4)
        zeroed = [self.head.head, self.time_projection[1], *(block.cross_attn.o for block in self.blocks)]
        for layer in zeroed:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latent: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        frames, rows, columns = (n // p for n, p in zip(latent.shape[2:], PATCH, strict=True))
        # The stride is the kernel, so the convolution is a matrix product over patches (and much faster as one).
        patches = latent.unflatten(4, (columns, PATCH[2])).unflatten(3, (rows, PATCH[1]))
        patches = patches.permute(0, 2, 3, 5, 1, 4, 6).flatten(4).flatten(1, 3)
        x = F.linear(patches, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias)
        embedded = self.time_embedding(timestep_features(1000 * time).to(x.dtype))
        projected = self.time_projection(embedded).unflatten(1, (6, -1))
        context = self.text_embedding(tokens)
        grid = torch.cartesian_prod(*(torch.arange(n, device=latent.device) for n in (frames, rows, columns)))
        angles = rope_angles(grid, ROPE_AXES)
        for block in self.blocks:
            x = block(x, projected, context, angles)
        x = self.head(x, embedded).unflatten(2, (*PATCH[1:], LATENT_CHANNELS)).unflatten(1, (frames, rows, columns))
        return x.permute(0, 6, 1, 2, 4, 3, 5).flatten(5).flatten(3, 4)
