"""The last computed features of every cond, and forecasts from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .guidance import Guidance
from .mechanisms import Mechanism
from .reasons import Reason

KEPT = 4  # evaluations for which a history is kept that is not asked for
NO_HISTORY = Reason("no_history")


class NoForecast(Exception):
    """This evaluation can't be forecast, and is computed instead."""

    def __init__(self, reason: Reason):
        super().__init__(str(reason))
        self.reason = reason


@dataclass(frozen=True)
class Features:
    """What one computed evaluation adds to one history.

    Attributes:
        key: of the history.
        feature: what is cached.
        base: the input, which residual mechanisms subtract; None if `feature` is a residual already.
        probe: the first block's residual, for mechanisms that probe.
    """

    key: tuple
    feature: torch.Tensor
    base: torch.Tensor | None = None
    probe: torch.Tensor | None = None


def usable_history(past: Sequence[float], now: float) -> list[int]:
    """Indices of `past` (newest first) that a forecast for `now` may use: each further away on the same side.

    Of two evaluations at one time (Heun) the newer is used. After a jump back to more noise (restart, ancestral),
    evaluations on the other side of `now` are left out, so that nothing is divided by zero or extrapolated backwards.
    """
    usable = [0]
    for i in range(1, len(past)):
        ahead, step = now - past[0], past[usable[-1]] - past[i]
        if abs(step) > 1e-9 and ahead * step > 0:
            usable.append(i)
    return usable


class History:
    """The last features of one cond, newest first, as copies.

    Args:
        mechanism: how features are combined, and how many are stored.
        device: where they are stored; None: on their own device.

    Attributes:
        asked: the evaluation that last asked for it.
    """

    def __init__(self, mechanism: Mechanism, device: torch.device | None = None):
        self.mechanism = mechanism
        self.device = device
        self.asked = 0
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
        """Store a computed feature (see Features) at `position`; a full history overwrites the oldest in place."""
        if self.features and self.features[0].shape != feature.shape:
            self.clear()
        again = self.positions[:1] == [position]  # at the same time, the newer evaluation replaces the older
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
                 probe: torch.Tensor | None = None, negative: History | None = None, trend: float = 1.0
                 ) -> torch.Tensor:
        """The feature at `position`, as a new tensor on `device`.

        With a negative cond it is g F + (1 - g) (F_negative + f - f_negative): F are forecasts, f the newest features,
        g the `trend` (see guidance_trend).

        Args:
            base: the current input, for residual mechanisms.
            probe: the first block's current residual, for mechanisms that probe.
            negative: of the negative cond, with features of the same shape.
        """
        weights = self._weights(position, probe)
        followed: list[tuple[torch.Tensor, float]] = []
        if negative is not None and trend < 1.0:
            weights = {i: trend * weight for i, weight in weights.items()}
            weights[0] += 1.0 - trend
            change = negative._weights(position)
            change[0] -= 1.0
            followed = [(negative.features[i], (1.0 - trend) * weight) for i, weight in change.items()]
        (newest, weight), *older = [*((self.features[i], weight) for i, weight in weights.items()), *followed]
        if weight == 1.0 and not older and base is None:
            return newest.to(device, copy=True)
        total = newest.to(device, torch.promote_types(newest.dtype, torch.float32), copy=True)
        if weight != 1.0:
            total *= weight
        for feature, weight in older:
            total.add_(feature.to(device), alpha=weight)
        if base is not None:
            total.add_(base)
        if newest.dtype == torch.float16:
            limit = torch.finfo(torch.float16).max
            total.clamp_(-limit, limit)  # as the host does to blocks that come near it
        return total.to(newest.dtype)

    def _weights(self, position: float, probe: torch.Tensor | None = None) -> dict[int, float]:
        """{index of a feature: its weight in a forecast}, the newest first."""
        usable = usable_history(self.positions, position)
        gamma = 1.0
        if self.mechanism.probes and len(self.probes) == 2:
            gamma = self.mechanism.gamma(probe, *self.probes)
        return dict(zip(usable, self.mechanism.weights([self.positions[i] for i in usable], position, gamma)))

    def clear(self) -> None:
        """Free every tensor."""
        self.positions, self.features, self.probes = [], [], []

    @property
    def bytes(self) -> int:
        """Memory held."""
        return sum(t.numel() * t.element_size() for t in self.features + self.probes)


class Histories:
    """The histories of a run, by the keys of its conds.

    Args:
        mechanism, device: of every History. guidance: of the run.

    Attributes:
        index: of the current evaluation.
        peak_bytes: the most memory that was held at once.
    """

    def __init__(self, mechanism: Mechanism, device: torch.device | None, guidance: Guidance):
        self.mechanism = mechanism
        self.device = device
        self.guidance = guidance
        self.index = 0
        self.peak_bytes = 0
        self._histories: dict[tuple, History] = {}

    def __len__(self) -> int:
        return len(self._histories)

    def get(self, key: tuple) -> History | None:
        """The history under this key, or None."""
        history = self._histories.get(key)
        if history is not None:
            history.asked = self.index
        return history

    def forecast(self, key: tuple, position: float, device: torch.device, base: torch.Tensor | None = None,
                 probe: torch.Tensor | None = None, negative: tuple | None = None) -> torch.Tensor:
        """The features under `key`, as History.forecast makes them.

        Args:
            negative: key of the negative cond, whose difference to this one is guidance; None: there is none.
        """
        history, other = self._histories[key], self._histories.get(negative) if negative != key else None
        if not self.mechanism.extrapolates or other is None or not other.fits(history.features[0].shape):
            return history.forecast(position, device, base, probe)
        trend = self.guidance.trend(history.positions, other.positions, position)
        return history.forecast(position, device, base, probe, other, trend)

    def record(self, features: Features, position: int) -> None:
        """Store the features of an evaluation at `position`."""
        history = self._histories.setdefault(features.key, History(self.mechanism, self.device))
        history.asked = self.index
        history.record(position, features.feature, features.base, features.probe)
        self.peak_bytes = max(self.peak_bytes, sum(history.bytes for history in self._histories.values()))

    def drop_unasked(self) -> None:
        """Free histories that were not asked for lately: of conds that ended, guidance that is over."""
        for key in [key for key, history in self._histories.items() if self.index - history.asked >= KEPT]:
            del self._histories[key]

    def clear(self) -> None:
        """Free every tensor."""
        for history in self._histories.values():
            history.clear()
        self._histories.clear()
