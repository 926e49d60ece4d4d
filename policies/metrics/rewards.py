"""R(x_cache), the quality of an output by itself, and L_image = d(x_cache, x_full) - alpha_iq R(x_cache)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .distances import Distance

Embed = Callable[[Tensor], Tensor]  # pictures [batch, height, width, 3] in 0..1 -> embeddings [batch, dimensions]


class Reward(Protocol):
    """A measure of quality without a reference; higher is better."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Pictures or videos, as in distances -> [batch], float32."""
        ...


def none(pictures: Tensor) -> Tensor:
    """No reward: zeros [batch]."""
    return torch.zeros(len(pictures), device=pictures.device)


@dataclass(frozen=True)
class ClipSimilarity:
    """The cosine between a picture and its prompt in CLIP's space (CLIPScore, arXiv 2104.08718): -1..1.

    Attributes:
        embed: CLIP's picture encoder. text: the prompt's embedding [dimensions] from the same CLIP.
    """

    embed: Embed
    text: Tensor

    def __call__(self, pictures: Tensor) -> Tensor:
        """See Reward."""
        return _mean_over_frames(lambda frame: _cosine(self.embed(frame), self.text), pictures)


@dataclass(frozen=True)
class ClipQuality:
    """The probability that CLIP calls a picture good and not bad (CLIP-IQA, arXiv 2207.12396): 0..1.

    Attributes:
        embed: CLIP's picture encoder. good, bad: embeddings [dimensions] of two opposite texts, "Good photo." and
            "Bad photo.". scale: of the cosines; CLIP was trained to 100.
    """

    embed: Embed
    good: Tensor
    bad: Tensor
    scale: float = 100.0

    def __call__(self, pictures: Tensor) -> Tensor:
        """See Reward."""

        def quality(frame: Tensor) -> Tensor:
            embedding = self.embed(frame)
            return torch.sigmoid(self.scale * (_cosine(embedding, self.good) - _cosine(embedding, self.bad)))

        return _mean_over_frames(quality, pictures)


def image_loss(cached: Tensor, full: Tensor, distance: Distance, reward: Reward = none, alpha: float = 0.0) -> Tensor:
    """L_image(s) = d(x_cache, x_full) - alpha_iq R(x_cache), [batch] (arXiv 2606.06060)."""
    return distance(cached, full) - alpha * reward(cached).to(full.device)


def _cosine(embeddings: Tensor, text: Tensor) -> Tensor:
    return torch.cosine_similarity(embeddings.float(), text.float().to(embeddings.device), dim=-1)


def _mean_over_frames(reward: Callable[[Tensor], Tensor], pictures: Tensor) -> Tensor:
    frames = pictures.unsqueeze(1) if pictures.ndim == 4 else pictures
    return torch.stack([reward(frames[:, frame]) for frame in range(frames.shape[1])]).mean(0)
