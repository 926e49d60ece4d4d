"""A policy as artists use and share it: a table of logits, which gives a schedule for every budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .interpolation import Interpolation
from .learning.plackett_luce import PlackettLuce
from .schedule import Schedule, ScheduleError, check_k, from_indices, resample
from .uniform import uniform


@dataclass(frozen=True, eq=False)
class Policy:
    """Logits for some k of n evaluations; schedules for all k and all evaluation times.

    Attributes:
        budgets: the k that it was fitted for, ascending, each in 1..n.
        logits: [len(budgets), n - 1] float32: row b ranks evaluations 1..n-1 for budgets[b]; the k - 1 highest are
            computed, and evaluation 0.
        times: the n evaluation times (sigmas) that it was fitted for.
    """

    budgets: tuple[int, ...]
    logits: np.ndarray
    times: tuple[float, ...]

    @property
    def n(self) -> int:
        """Evaluations in the run that it was fitted for."""
        return len(self.times)

    @cached_property
    def schedules(self) -> dict[int, Schedule]:
        """{k: schedule} for the budgets."""
        ranked = np.argsort(-self.logits, axis=1, kind="stable") + 1
        return {k: from_indices((0, *row[: k - 1]), self.n, self.times) for k, row in zip(self.budgets, ranked)}

    @cached_property
    def _interpolation(self) -> Interpolation:
        return Interpolation(self.schedules)

    def schedule(self, k: int, times: Sequence[float] | None = None, comparable: bool = True) -> Schedule:
        """The schedule that computes exactly k evaluations of a run with these times (its own by default).

        A run that starts later (denoise below 1) gets the end of a schedule that computes k evaluations from there on.
        A run that computes more evaluations than the policy knows gets the uniform schedule.

        Args:
            comparable: whether the times mean the same as the policy's (sigmas of the same kind of model); if not,
                evaluations are matched by their position in the run.

        Raises:
            ScheduleError: k outside 1..the number of times, or times that are not finite numbers.
        """
        times = self.times if times is None else tuple(times)
        check_k(k, len(times))
        if times == self.times:
            return self._interpolation.schedule(k)
        start = int(np.abs(np.array(self.times) - times[0]).argmin()) if comparable else 0
        if k > self.n - start:
            return Schedule(uniform(len(times), k).computed, times)
        end = self._end(k, start)
        return resample(end if comparable else Schedule(end.computed), times)

    def _end(self, k: int, start: int) -> Schedule:
        """The part from `start` on, reduced to k computed, of the first schedule that computes k or more there."""
        for whole in range(k, self.n + 1):
            if self._interpolation.surely_fewer_from(start, whole, k):
                continue  # a policy of a thousand evaluations would make a thousand schedules
            computed = self._interpolation.schedule(whole).computed[start:]
            if sum(computed) >= k:
                break
        computed = list(computed)
        if not computed[0]:  # a run's first evaluation must be computed: move the first computed one there
            computed[computed.index(True)] = False
            computed[0] = True
        end = Schedule(tuple(computed), self.times[start:])
        return Interpolation({end.k: end}).schedule(k)


def from_schedules(schedules: dict[int, Schedule], learned: PlackettLuce | None = None) -> Policy:
    """The policy with these schedules, one for each of its budgets, all of the same n and times (not None).

    Args:
        learned: its logits are the row of every k whose schedule it gives; other rows, and all rows without it, are 1
            for computed evaluations and 0 for cached ones.

    Raises:
        ScheduleError: no schedules, a schedule whose k is not its key, or schedules of different runs.
    """
    budgets = tuple(sorted(schedules))
    if not budgets:
        raise ScheduleError("A policy needs at least one schedule.")
    times = schedules[budgets[0]].times
    if times is None or any(s.times != times or s.k != k for k, s in schedules.items()):
        raise ScheduleError("The schedules of a policy need the same evaluation times, and each as many as its k.")
    rows = []
    for k in budgets:
        row = np.array(schedules[k].computed[1:], dtype=np.float32)
        if learned is not None and learned.schedule(k).computed == schedules[k].computed:
            row = learned.theta(k).detach().numpy().astype(np.float32)
        rows.append(row)
    return Policy(budgets, np.stack(rows), times)
