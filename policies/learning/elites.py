"""The elites: the best schedules found so far, one for each k."""

from __future__ import annotations

from collections.abc import Callable

from ..schedule import Schedule
from .environment import Memo, MemoByK

Starts = dict[str, dict[int, Schedule]]
Beats = Callable[[Schedule, Schedule], bool]


def evaluated(memo: Memo | MemoByK, schedule: Schedule, on_rollout: Callable[[], None]) -> float:
    """Mean cost over all samples; calls `on_rollout` before each."""
    for sample in range(memo.samples):
        on_rollout()
        memo.cost(schedule, sample)
    return memo.mean_cost(schedule)


class Elites:
    """The best schedule of every k, and its gain over the first start.

    Args:
        memo: the training samples.
        starts: {name: {k: schedule}}; the first name has every k. The best of them are the first elites.
        on_rollout: called with (evaluations, gains) before every rollout of the starts.

    Attributes:
        schedules: {k: elite}, by rising k.
        scale: {k: training cost of the first start, or 1 if that is 0}.
        gains: {k: share of the first start's training cost that the elite saves}.
        curve: (evaluations so far, mean gain) after every improvement.
    """

    def __init__(self, memo: Memo | MemoByK, starts: Starts, on_rollout: Callable[[int, dict[int, float]], None]):
        first = next(iter(starts.values()))
        self._memo = memo
        self.gains = dict.fromkeys(sorted(first), 0.0)
        self.curve: list[tuple[int, float]] = []

        def cost(schedule: Schedule) -> float:
            return evaluated(memo, schedule, lambda: on_rollout(memo.evaluations, self.gains))

        memo.prefetch((s[k], i) for s in starts.values() for k in s if k in first for i in range(memo.samples))
        self.scale = {k: abs(cost(first[k])) or 1.0 for k in self.gains}
        self.schedules = {k: min((s[k] for s in starts.values() if k in s), key=cost) for k in self.gains}
        self._measure_gains()

    def challenge(self, k: int, candidate: Schedule, beats: Beats) -> bool:
        """Make the candidate the elite of k if it beats the present one."""
        if not beats(candidate, self.schedules[k]):
            return False
        self.schedules[k] = candidate
        self._measure_gains()
        return True

    def _measure_gains(self) -> None:
        self.gains = {k: 1.0 - self._memo.mean_cost(s) / self.scale[k] for k, s in self.schedules.items()}
        self.curve.append((self._memo.evaluations, mean_gain(self.gains)))


def mean_gain(gains: dict[int, float]) -> float:
    """Mean over k of {k: gain}."""
    return sum(gains.values()) / len(gains)
