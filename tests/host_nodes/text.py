"""Text conditioning without a text encoder: every word is a fixed pseudo-random vector. Pure numpy and torch."""

from __future__ import annotations

import functools
import hashlib
import re

import numpy as np
import torch

TOKENS = 8
# Widths of a token and of the pooled vector (0: none) that each demo model reads. The host fixes Wan's token width.
DIMENSIONS = {"flux": (64, 64), "wan": (4096, 0), "sdxl": (2048, 1280)}
STOP_WORDS = {"a", "an", "the", "on", "of", "with", "in", "and", "background"}


@functools.lru_cache(maxsize=4096)
def _vector(key: str, dim: int) -> np.ndarray:
    """A unit-variance vector [dim] that depends on nothing but the key (Box-Muller over SHA-256 counters)."""
    blocks = (hashlib.sha256(f"{key}/{i}".encode()).digest() for i in range(-(-dim // 4)))
    integers = np.frombuffer(b"".join(blocks), dtype="<u4").astype(np.float64)
    first, second = (integers.reshape(2, -1) + 0.5) / 2**32
    normal = np.sqrt(-2 * np.log(first)) * np.cos(2 * np.pi * second)
    return normal[:dim].astype(np.float32)


def words(text: str) -> list[str]:
    """Lower-case words that carry meaning, at most TOKENS of them."""
    return [word for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in STOP_WORDS][:TOKENS]


def encode(text: str, dim: int, pooled_dim: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Token vectors [TOKENS, dim] and a pooled vector [pooled_dim], float32.

    A token is the sum of its word's vector and half its position's, so word order counts; unused tokens are zero.
    The pooled vector is the sum of the words' (other) vectors over the square root of their number; zeros when the
    text is empty, which is the unconditional input of classifier-free guidance.
    """
    tokens, pooled = np.zeros((TOKENS, dim), np.float32), np.zeros(pooled_dim, np.float32)
    found = words(text)
    for position, word in enumerate(found):
        tokens[position] = (_vector(f"word {word}", dim) + 0.5 * _vector(f"position {position}", dim)) / 1.25**0.5
        pooled += _vector(f"pooled {word}", pooled_dim)
    return torch.from_numpy(tokens), torch.from_numpy(pooled / max(len(found), 1) ** 0.5)
