"""Schedule and mechanism of a run, from a node's settings and its policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from ...caching import AUTO, Reason, RunSettings, mechanisms
from ...policies.budget import computed_for_budget
from ...policies.defaults import (
    default_mechanism,
    default_schedule,
    gains,
    has_own_rules,
    least_computed,
    may_lose,
)
from ...policies.expected_quality import expected_distance, word_of
from ...policies.policy_file import PolicyFile
from ...policies.schedule import Schedule, ScheduleError, explicit, from_indices, same_times, with_starts
from ...policies.uniform import uniform

_MANY = 100_000  # evaluations, more than any run has
_NOT_DEFAULT = 2.0  # times the distance of the default mechanism or schedule (docs/few-steps.md)


@dataclass(frozen=True)
class RunChoice:
    """A node's settings with the policy resolved.

    Attributes:
        budget: the share of the full compute, above 0 and at most 1.
        file: the policy; None for the default schedule.
        listed: the artist's list of evaluations, such as "0-3, 6", used instead of the budget; or None.
        mechanism, order: as chosen on the node; with "auto" the policy's, or the default for the run's length, and then
            more is computed than the budget pays for where it would be worse than fewer steps.
        run: as far as it is known.

    Raises:
        ScheduleError: a budget outside its range, or a malformed list.
    """

    budget: float
    file: PolicyFile | None = None
    listed: str | None = None
    mechanism: str = "taylor"
    order: int = 1
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        computed_for_budget(self.budget, 1)
        if self.listed is not None and self.file is None:
            explicit(self.listed, _MANY)  # refuse a malformed list before anything is loaded

    def schedule(self, times: Sequence[float], cached_cost: float = 0.0,
                 starts: Sequence[int] = ()) -> tuple[bool, ...]:
        """True for each evaluation that is computed, of a run with these times (see caching.CacheConfig).

        Args:
            starts: evaluations at which another sampler takes over (see schedule.with_starts); a list has them added.

        Raises:
            ScheduleError: the list has evaluations beyond the run's, or cached evaluations alone exceed the budget.
        """
        n, times = len(times), tuple(times)
        if self.file is None and self.listed is not None:
            return from_indices({*explicit(self.listed, n).indices, *starts}, n).computed
        if self.too_expensive(n, cached_cost):
            raise ScheduleError(f"Cached evaluations that cost {cached_cost:.0%} of a computed one exceed the budget.")
        return with_starts(self._schedule(self._paid(n, cached_cost), times), starts).computed

    def too_expensive(self, n: int, cached_cost: float) -> bool:
        """Whether one computed evaluation and the cached ones exceed a budget that pays for one and more."""
        by_budget = self.file is not None or self.listed is None
        return by_budget and bool(cached_cost) and 1.0 + (n - 1) * cached_cost > self.budget * n >= 1.0

    def mechanism_for(self, times: Sequence[float]) -> tuple[str, int]:
        """Mechanism and order in a run with these times."""
        if self.mechanism != AUTO:
            return self.mechanism, self.order
        if self.file is not None and not self._replaced(times):
            return self._policys(times)
        return default_mechanism(len(times), self._count(times), self._own_rules(times))

    def _policys(self, times: Sequence[float]) -> tuple[str, int]:
        """Mechanism and order of the policy for this run's share of computed evaluations."""
        n = len(times)
        return self.file.mechanism(self._paid(n) / n if n else self.budget)

    def _multistep(self, times: Sequence[float]) -> bool:
        """Whether the run is one of a multistep sampler; the rules for these were not measured for repeated times."""
        return self.run.multistep and not _repeated(tuple(times))

    def _own_rules(self, times: Sequence[float]) -> bool:
        """Whether the run is under the rules for multistep samplers (see policies.defaults)."""
        return has_own_rules(self._multistep(times), self.run.cfg)

    def _replaced(self, times: Sequence[float]) -> bool:
        """Whether the policy's mechanism is wanted, but forecasts from recorded runs of another sampler or times."""
        file = self.file
        if self.mechanism != AUTO or file is None or not mechanisms.class_of(self._policys(times)[0]).needs_gram:
            return False
        same_sampler = "" in (self.run.sampler, file.about.sampler) or self.run.sampler == file.about.sampler
        return file.gram is None or not same_sampler or not same_times(times, file.policy.times)

    def remark(self, times: Sequence[float], cached_cost: float = 0.0) -> Reason | None:
        """A warning where such a run can't have the policy's mechanism, or is no better than fewer steps; else None."""
        if times and self._replaced(times):
            return Reason("mechanism_replaced", {
                "mechanism": self._policys(times)[0], "instead": self.mechanism_for(times)[0]})
        if not times or self.file is not None:
            return None
        n, computed = len(times), self._count(times, cached_cost)
        paid = self._paid(n, cached_cost) if self.listed is None else computed
        if computed > paid:
            return Reason("raised", {"steps": n, "computed": paid, "instead": computed})
        named = {"steps": n, "computed": computed}
        unguided = self._multistep(times) and not self._own_rules(times)
        if unguided and computed < n and may_lose(n, computed):
            return Reason("may_lose", named)
        if gains(n, computed, self._own_rules(times)):
            return None
        mechanism, _ = self.mechanism_for(times)
        return Reason("as_fewer_steps", named) if mechanism == "reuse" else (
            Reason("worse_than_fewer_steps", {**named, "mechanism": mechanism}))

    def expected_word(self, times: Sequence[float], computed: int) -> str | None:
        """How close to the uncached picture a run comes that computes so many evaluations (see expected_quality.WORDS).

        None where all are computed, and where the artist listed evaluations with a longer gap than the default
        schedule has. A policy's gain is not counted, so that the word errs on the safe side.
        """
        n = len(times)
        if computed == n:
            return None
        distance = expected_distance(n, computed)
        if self.file is not None:
            return word_of(distance)
        schedule, default = self.schedule(times), self._default(computed, times).computed
        if self.listed is not None and _longest_gap(schedule) > _longest_gap(default):
            return None
        by_hand = self.listed is not None and schedule != default
        if by_hand or self.mechanism_for(times) != default_mechanism(n, computed, self._own_rules(times)):
            distance *= _NOT_DEFAULT
        return word_of(distance)

    def _count(self, times: Sequence[float], cached_cost: float = 0.0) -> int:
        """Computed evaluations: all of them where the schedule is refused, because the run is then left uncached."""
        try:
            return sum(self.schedule(times, cached_cost)) if times else 0
        except ScheduleError:
            return len(times)

    def _paid(self, n: int, cached_cost: float = 0.0) -> int:
        """How many evaluations the budget pays for."""
        return computed_for_budget(self.budget, n, cached_cost)

    def _schedule(self, k: int, times: tuple[float, ...]) -> Schedule:
        if self.file is not None:
            return self.file.policy.schedule(k, _snapped(times, self.file.policy.times))
        raised = self.mechanism == AUTO and not _repeated(times)
        least = least_computed(len(times), k, times, self._own_rules(times), self.run.cfg) if raised else k
        return self._default(least, times)

    def _default(self, k: int, times: tuple[float, ...]) -> Schedule:
        """The schedule of a run without a policy."""
        n = len(times)
        return uniform(n, k) if _repeated(times) else default_schedule(n, k, self._own_rules(times))


def _repeated(times: tuple[float, ...]) -> bool:
    """Whether times repeat, such as Heun's; the default rules were not measured for such runs."""
    return len(set(times)) < len(times)


def _longest_gap(computed: Sequence[bool]) -> int:
    """The most cached evaluations in a row."""
    return max(len(list(run)) for value, run in groupby(computed) if not value)


def _snapped(times: tuple[float, ...], known: tuple[float, ...]) -> tuple[float, ...]:
    """`times` with the policy's exact values where they equal these up to rounding."""
    if same_times(times, known):
        return known
    return (known[0], *times[1:]) if same_times(times[:1], known[:1]) else times
