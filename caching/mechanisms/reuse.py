"""Reuse: a cached evaluation repeats the last computed feature (FORA, arXiv 2407.01425)."""

from __future__ import annotations

from .base import Mechanism


class Reuse(Mechanism):
    """F(t) = F(t_0)."""

    def weights(self, past, now, gamma=1.0):
        return [1.0]
