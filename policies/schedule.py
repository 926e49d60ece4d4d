"""The schedule: which evaluations of a run are computed. The result of every policy."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .assignment import cheapest_in_order, nearest_in_order

_MAX_EVALUATIONS = 100_000
_ITEM = re.compile(r"(\d{1,9})(?:\s*-\s*(\d{1,9}))?", re.ASCII)
_POSITION_WEIGHT = 1e-6
SAME_TIME = 1e-3


class ScheduleError(ValueError):
    """An impossible schedule; the message is one sentence for the artist."""


@dataclass(frozen=True)
class Schedule:
    """Which evaluations of one sampling run are computed; the others are forecast.

    Attributes:
        computed: one bool per evaluation, in the order in which the sampler makes them. The first is always True,
            because nothing is cached before it.
        times: the evaluation times (sigmas), one finite float per evaluation, or None where they are not known.

    Raises:
        ScheduleError: no evaluations, evaluation 0 not computed, or times that do not fit `computed`.
    """

    computed: tuple[bool, ...]
    times: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "computed", tuple(map(bool, self.computed)))
        if not self.computed:
            raise ScheduleError("A schedule needs at least one evaluation; give the sampler at least one step.")
        if not self.computed[0]:
            raise ScheduleError(
                "Evaluation 0 must be computed, because nothing is cached before it; add 0 to the list."
            )
        if self.times is not None:
            object.__setattr__(self, "times", _checked_times(self.times))
            if len(self.times) != self.n:
                raise ScheduleError(f"A schedule of {self.n} evaluations needs {self.n} times, not {len(self.times)}.")

    @property
    def n(self) -> int:
        """Evaluations in the run."""
        return len(self.computed)

    @property
    def k(self) -> int:
        """Computed evaluations, 1 <= k <= n."""
        return len(self.indices)

    @cached_property
    def indices(self) -> tuple[int, ...]:
        """The computed evaluations, ascending, 0-based."""
        return tuple(i for i, c in enumerate(self.computed) if c)

    def __str__(self) -> str:
        """The list an artist would type: `explicit(str(s), s.n)` gives `s` without its times."""
        return ", ".join(map(str, self.indices))


def check_k(k: int, n: int) -> None:
    """Raises ScheduleError for a k outside 1..n."""
    if not 1 <= k <= n:
        raise ScheduleError(f"A run of {n} evaluations can compute 1 to {n} of them, not {k}.")


def from_indices(indices: Iterable[int], n: int, times: Sequence[float] | None = None) -> Schedule:
    """The schedule of `n` evaluations that computes `indices` (0-based, any order; 0 must be among them).

    Raises:
        ScheduleError: an index outside 0..n-1, or evaluation 0 missing.
    """
    chosen = {int(i) for i in indices}
    outside = [i for i in sorted(chosen) if not 0 <= i < n]
    if outside:
        raise ScheduleError(f"Evaluation {outside[0]} does not exist in a run of {n}; use numbers from 0 to {n - 1}.")
    computed = [False] * n
    for i in chosen:
        computed[i] = True
    return Schedule(tuple(computed), None if times is None else tuple(times))


def with_starts(schedule: Schedule, starts: Iterable[int]) -> Schedule:
    """The schedule with `starts` computed too, each in place of the nearest other evaluation, of two the later.

    Evaluation 0 and other starts are left; where nothing else is computed more are computed than before. For a run of
    several samplers, each of which begins without anything to forecast from.
    """
    starts = {0, *starts}
    chosen = set(schedule.indices)
    for start in sorted(starts - chosen):
        others = chosen - starts
        if others:
            chosen.remove(min(others, key=lambda i: (abs(i - start), -i)))
        chosen.add(start)
    return from_indices(chosen, schedule.n, schedule.times)


def explicit(text: str, n: int) -> Schedule:
    """An artist's own list, such as "0, 1, 2, 5-8, 11": 0-based evaluations and inclusive ranges, any order.

    Raises:
        ScheduleError: an empty list, something that is not a number or range, a range that runs backwards, an
            evaluation that a run of `n` does not have, or evaluation 0 missing.
    """
    items = [item for item in re.split(r"[\s,;]+", re.sub(r"\s*-\s*", "-", text.strip())) if item]
    if not items:
        raise ScheduleError("The list of evaluations is empty; write some, for example 0, 1, 2, 5-8, 11.")
    indices: set[int] = set()
    for item in items:
        match = _ITEM.fullmatch(item)
        if not match:
            shown = item if len(item) <= 20 else item[:20] + "..."
            raise ScheduleError(f"'{shown}' is not an evaluation; write whole numbers and ranges such as 0, 1, 2, 5-8.")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ScheduleError(f"The range {first}-{last} runs backwards; write {last}-{first}.")
        if last >= n:
            outside = max(first, n)
            raise ScheduleError(f"Evaluation {outside} does not exist in a run of {n}; use numbers from 0 to {n - 1}.")
        indices.update(range(first, last + 1))
    return from_indices(indices, n)


def resample(schedule: Schedule, times: Sequence[float]) -> Schedule:
    """The schedule for other evaluation times: other steps, scheduler, shift or denoise.

    The k computed evaluations go, in order, to the k evaluations whose times match theirs best: the assignment
    i_1 = 0 < i_2 < ... < i_k that minimises the sum of squared distances, found exactly. Distances are measured in
    ranks among the new times, so they mean the same for sigmas up to 1 and up to 80. A schedule without times is
    resampled by position.

    Args:
        times: the new run's evaluation times, one finite float per evaluation; they may repeat or go back up.

    Raises:
        ScheduleError: fewer new evaluations than computed ones, or times that are not finite numbers.
    """
    times = _checked_times(times)
    n, k = len(times), schedule.k
    if k > n:
        raise ScheduleError(f"A schedule with {k} computed evaluations does not fit a run of {n}; lower the budget.")
    wanted_positions = np.array(schedule.indices) * (n / schedule.n)
    if schedule.times is None:
        return from_indices(nearest_in_order(wanted_positions, n), n, times)
    grid = np.unique(times)  # ascending: rank 0 is the end of denoising
    ranks, positions = np.searchsorted(grid, times), np.arange(n)
    wanted_ranks = np.interp(np.array(schedule.times)[list(schedule.indices)], grid, np.arange(len(grid)))
    distances = (  # position settles ties between equal times
        (rank - ranks) ** 2 + _POSITION_WEIGHT * (position - positions) ** 2
        for rank, position in zip(wanted_ranks, wanted_positions))
    return from_indices(cheapest_in_order(distances), n, times)


def same_times(times: Sequence[float], others: Sequence[float]) -> bool:
    """Whether two runs have the same evaluation times, up to rounding, which differs between devices."""
    return len(times) == len(others) and all(abs(a - b) < SAME_TIME for a, b in zip(times, others))


def _checked_times(times: Sequence[float]) -> tuple[float, ...]:
    checked = tuple(map(float, times))
    if not 0 < len(checked) <= _MAX_EVALUATIONS:
        raise ScheduleError(f"A run has 1 to {_MAX_EVALUATIONS} evaluations, not {len(checked)}.")
    if not all(map(math.isfinite, checked)):
        raise ScheduleError("Evaluation times must be finite numbers; check the scheduler's sigmas.")
    return checked
