"""What one cond has left of its last computed evaluations."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .mechanisms import Mechanism


def usable_history(past: Sequence[float], now: float) -> list[int]:
    """Indices of `past` (newest first) that a forecast for `now` may use: each one further away on the same side.

    Two evaluations at one time (Heun) keep the newer; after a jump back to more noise (restart, ancestral) what lies
    on the other side of `now` is left out, so that nothing is divided by zero or extrapolated backwards.
    """
    kept = [0]
    for i in range(1, len(past)):
        ahead, step = now - past[0], past[kept[-1]] - past[i]
        if abs(step) > 1e-9 and ahead * step > 0:
            kept.append(i)
    return kept


class History:
    """The last features of one cond at one cache point, newest first; never the tensors the model goes on using.

    Args:
        mechanism: how features are combined, and how many are kept.
        device: where features are kept, or None for where they arise.
    """

    def __init__(self, mechanism: Mechanism, device: torch.device | None = None):
        self.mechanism = mechanism
        self.device = device
        self.positions: list[float] = []
        self.features: list[torch.Tensor] = []
        self.probes: list[torch.Tensor] = []

    def __len__(self) -> int:
        return len(self.features)

    def fits(self, shape: torch.Size) -> bool:
        """Whether a forecast of this shape can be made."""
        return bool(self.features) and self.features[0].shape == shape

    def record(self, position: float, feature: torch.Tensor, base: torch.Tensor | None = None,
               probe: torch.Tensor | None = None) -> None:
        """Remember a computed feature at `position`; the oldest one's memory is used again where it is full.

        Args:
            base: the stack's input, subtracted where the mechanism is one of residuals; None if it was already.
            probe: the first block's residual, where the mechanism probes.
        """
        if self.features and self.features[0].shape != feature.shape:
            self.clear()
        again = self.positions[:1] == [position]  # a newer evaluation at the same time takes the place of the older
        if again or len(self.features) == self.mechanism.depth:
            place = 0 if again else -1
            slot = self.features.pop(place)
            self.positions.pop(place)
            if self.probes:
                self.probes.pop(place)
        else:
            slot = torch.empty_like(feature, device=self.device or feature.device,
                                    memory_format=torch.contiguous_format)
        if self.mechanism.of_residual and base is not None:
            if slot.device == feature.device:
                torch.sub(feature, base, out=slot)
            else:
                slot.copy_(feature - base)
        else:
            slot.copy_(feature)
        self.positions.insert(0, position)
        self.features.insert(0, slot)
        if probe is not None:
            self.probes.insert(0, probe)

    def forecast(self, position: float, device: torch.device, base: torch.Tensor | None = None,
                 probe: torch.Tensor | None = None) -> torch.Tensor:
        """The feature at `position`, as a new tensor on `device`.

        Args:
            base: the stack's current input, where the mechanism is one of residuals.
            probe: the first block's current residual, where the mechanism probes.
        """
        kept = usable_history(self.positions, position)
        gamma = 1.0
        if self.mechanism.probes and len(self.probes) == 2:
            gamma = self.mechanism.gamma(probe, *self.probes)
        weights = self.mechanism.weights([self.positions[i] for i in kept], position, gamma)
        total = self.features[kept[0]].to(device, copy=True)
        if weights[0] != 1.0:
            total *= weights[0]
        for i, weight in zip(kept[1:], weights[1:]):
            total.add_(self.features[i].to(device), alpha=weight)
        return total if base is None else total.add_(base)

    def clear(self) -> None:
        """Forget everything, so that the memory is free at once."""
        self.positions, self.features, self.probes = [], [], []

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(t.numel() * t.element_size() for t in self.features + self.probes)
