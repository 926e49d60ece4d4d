"""One budget over several samplers that work on one latent in turn, such as those of Wan 2.2's two experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import accumulate

from ...caching import CacheConfig, Reason, Report, RunSettings
from ...policies.interpolation import Interpolation
from ...policies.schedule import Schedule
from ..server.prompt_samplers import following
from ..server.run_state import RunMonitor
from .resolve import PolicyChoice


@dataclass(frozen=True)
class Trajectory:
    """A node's choice for all samplers together.

    Attributes:
        monitor: follows their evaluations, which it counts through.
    """

    choice: PolicyChoice
    monitor: RunMonitor

    def for_run(self, config: CacheConfig, run: RunSettings) -> CacheConfig:
        """The configuration of one sampler's run, for CacheConfig.for_run."""
        before = run.before
        done = [len(part.times) for part in before.parts or (before,)] if before else []
        later = following(self.monitor.node, run.leftover, self.monitor.model_sampling) if run.times else []
        times = (*(before.times if before else ()), *run.times, *(time for part in later for time in part))
        starts = tuple(accumulate((*done, len(run.times), *map(len, later))))[:-1]
        whole = self.choice.for_run(config, replace(run, times=times))
        part = _Part(partial(whole.schedule, times, starts=starts), sum(done), len(run.times), before, self.monitor)
        # what is said of so few evaluations would be of no use; the next sampler's run says it of all
        notes = [Reason("next_sampler_unknown")] if run.times and run.leftover > 0.0 and not later else whole.notes
        own = slice(part.start, part.start + part.n)
        gram = None if whole.gram is None else whole.gram[own, own]
        return replace(whole, schedule=part.schedule, evaluated=part.evaluated, gram=gram, notes=notes)


@dataclass(frozen=True)
class _Part:
    """One sampler's share of a schedule.

    Attributes:
        whole: (cost of a cached evaluation) -> the schedule of all samplers that are known.
        start, n: the first and the number of this one's evaluations.
        before: the report on the samplers before it, or None.
    """

    whole: Callable[[float], tuple[bool, ...]]
    start: int
    n: int
    before: Report | None
    monitor: RunMonitor

    def schedule(self, times: Sequence[float], cached_cost: float) -> tuple[bool, ...]:
        """This sampler's evaluations (see CacheConfig.schedule).

        What the samplers before it have planned to compute is taken off the whole budget, also if they knew less.
        """
        whole, end = self.whole(cached_cost), self.start + self.n
        own = whole[self.start:end]
        if self.before is None or not self.before.planned:
            return own
        k = min(self.n, max(1, sum(whole[:end]) - len(self.before.planned)))
        return Interpolation({sum(own): Schedule(own)}).schedule(k).computed

    def evaluated(self, index: int, computed: bool, schedule: Sequence[bool] | None) -> None:
        """An evaluation was made (see CacheConfig.evaluated)."""
        if schedule is not None:
            schedule = (*self._planned_before, *schedule, *self._later)
        self.monitor.evaluated(self.start + index, computed, schedule, self.before)

    @cached_property
    def _planned_before(self) -> list[bool]:
        planned = set(self.before.planned if self.before else ())
        return [i in planned for i in range(self.start)]

    @cached_property
    def _later(self) -> tuple[bool, ...]:
        return self.whole(0.0)[self.start + self.n:]
