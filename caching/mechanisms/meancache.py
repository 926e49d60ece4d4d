"""MeanCache: the last velocity, corrected by the slope of the average velocity (arXiv 2601.19961)."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Mechanism


@dataclass(frozen=True)
class MeanCache(Mechanism):
    """v_i = v_{i-1} - J (s_{i+1} - s_i), J = (v_b - u) / (s_i - s_b), b = i - 2: the paper's JVP caching with K = 2.

    s are noise levels, u the average velocity from b to i. With d_j = s_{j+1} - s_j that is
    v_i = v_{i-1} + (v_{i-1} - v_{i-2}) d_{i-1} d_i / (d_{i-2} + d_{i-1})^2. For a v that was not computed its forecast
    is used, and for those before the oldest stored one, that one.

    Attributes:
        levels: noise level at every position, and after the last; evenly spaced if not given.
    """

    levels: tuple[float, ...] = ()
    depth = 3
    extrapolates = True

    def weights(self, past, now, gamma=1.0):
        """See Mechanism; positions are integers that rise over a run. After a jump back the newest is repeated."""
        if now <= past[0]:
            return [1.0]
        rows: list[list[float]] = []
        for i in range(past[-1], now + 1):
            if i in past:
                rows.append([float(i == position) for position in past])
            elif len(rows) == 1:
                rows.append(rows[0])
            else:
                share = self._step(i - 1) * self._step(i) / (self._step(i - 2) + self._step(i - 1)) ** 2
                rows.append([last + share * (last - before) for last, before in zip(rows[-1], rows[-2])])
        return rows[-1]

    def _step(self, i: int) -> float:
        return self.levels[i + 1] - self.levels[i] if self.levels else 1.0
