"""Residual: the last computed change of the block stack is added to the current input.

Delta-DiT (arXiv 2406.01125), TeaCache (arXiv 2411.19108).
"""

from __future__ import annotations

from .base import Mechanism


class Residual(Mechanism):
    """F(t) = x(t) + (F(t_0) - x(t_0)), x the input of the stack."""

    of_residual = True

    def weights(self, past, now, gamma=1.0):
        return [1.0]
