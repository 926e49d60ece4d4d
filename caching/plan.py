"""The plan of a run: where it caches, which evaluations it computes, and why. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from .evaluations import Evaluations
from .mechanisms import Mechanism
from .reasons import Reason

Schedule = tuple[bool, ...]
Scheduler = Callable[[Sequence[float], float], Schedule]


class Phase(Enum):
    """How far a plan is decided."""

    PROBING = "probing"  # everything is computed until the model's blocks have been examined
    SETTLED = "settled"
    FULL = "full"  # everything is computed, as chosen; the evaluations are not known
    UNCACHED = "uncached"  # everything is computed, because nothing can be cached


@dataclass(frozen=True)
class Plan:
    """What a run computes, and where it takes its features.

    Attributes:
        cache_point: "blocks", "output", or "none" if nothing is cached.
        reason: for this cache point, or for not caching; None while probing, and for a run of no evaluations.
        schedule: of a settled plan, True where an evaluation is computed.
        scheduled: what the scheduler chose, before evaluations were moved or added.
        sources: the computed evaluations whose features are used by forecasts.
        last_cached: the last evaluation that is forecast; -1 if none is.
        cached_cost: cost of a cached evaluation, as a share of a computed one.
    """

    phase: Phase
    cache_point: str
    reason: Reason | None = None
    schedule: Schedule = ()
    scheduled: Schedule = ()
    sources: frozenset[int] = frozenset()
    last_cached: int = -1
    cached_cost: float = 0.0

    @property
    def added(self) -> int:
        """Evaluations that are computed beyond those that the scheduler chose."""
        return sum(self.schedule) - sum(self.scheduled)

    @property
    def settled(self) -> bool:
        """Whether the schedule is known."""
        return self.phase is Phase.SETTLED

    def computes(self, index: int) -> bool:
        """Whether the plan has this evaluation computed."""
        return not self.settled or (index < len(self.schedule) and self.schedule[index])

    def stores(self, index: int) -> bool:
        """Whether a forecast will use the features of this evaluation, if it is computed."""
        return self.phase is Phase.PROBING or index in self.sources

    def as_report(self, evaluations: int) -> dict[str, Any]:
        """The fields of a Report that follow from the plan, for a run that made so many evaluations."""
        if self.phase not in (Phase.SETTLED, Phase.FULL):
            return {}
        everything = (True,) * evaluations
        planned, scheduled = (self.schedule, self.scheduled) if self.settled else (everything, everything)
        return {"cache_point": self.cache_point, "cache_point_reason": self.reason, "cached_cost": self.cached_cost,
                "planned": _indices(planned), "scheduled": _indices(scheduled)}

    def caches_from(self, index: int) -> bool:
        """Whether this or a later evaluation is forecast, as far as is known."""
        return self.phase is Phase.PROBING or index <= self.last_cached

    def moved(self, source: int, target: int) -> Plan:
        """This plan with evaluation `target` computed in the place of `source`.

        Which evaluations feed which is then no longer known: the features of all that are computed are stored.
        """
        computed = {i for i, planned in enumerate(self.schedule) if planned} - {source} | {target}
        schedule = tuple(i in computed for i in range(len(self.schedule)))
        return replace(self, schedule=schedule, sources=frozenset(computed), last_cached=_last_cached(schedule))


def uncached(reason: Reason) -> Plan:
    """The plan of a run that computes everything."""
    return Plan(Phase.UNCACHED, "none", reason)


def full() -> Plan:
    """The plan of a run that is to compute everything, whatever its evaluations."""
    return Plan(Phase.FULL, "none", Reason("all_computed"))


def sources_of(cached: int, schedule: Schedule, positions: Sequence[int], depth: int) -> list[int]:
    """The computed evaluations, newest first, that a forecast of evaluation `cached` finds in the history.

    Args:
        positions: of the evaluations; of several at one position only the newest is kept.
        depth: of the mechanism.
    """
    newest: dict[int, int] = {}
    for i in range(cached - 1, -1, -1):
        if schedule[i] and len(newest) < depth:
            newest.setdefault(positions[i], i)
    return list(newest.values())


def including(schedule: Schedule, required: Iterable[int]) -> Schedule:
    """`schedule` with the required evaluations computed, each in the place of the nearest computed one that is not.

    The first evaluation stays. Where no other is left, one more is computed.
    """
    required = frozenset(required) | {0}
    computed = {i for i, planned in enumerate(schedule) if planned}
    for i in sorted(required - computed):
        free = computed - required
        if free:
            computed.remove(min(free, key=lambda j: (abs(j - i), j)))
        computed.add(i)
    return tuple(i in computed for i in range(len(schedule)))


def _indices(schedule: Schedule) -> list[int]:
    return [i for i, computed in enumerate(schedule) if computed]


def _last_cached(schedule: Schedule) -> int:
    return max((i for i, computed in enumerate(schedule) if not computed), default=-1)


def _settled(evaluations: Evaluations, mechanism: Mechanism, scheduled: Schedule, cache_point: str, reason: Reason,
             cached_cost: float = 0.0) -> Plan:
    schedule = including(scheduled, evaluations.begin.at(cache_point))
    cached = [i for i, computed in enumerate(schedule) if not computed]
    positions = evaluations.positions
    sources = frozenset(source for i in cached for source in sources_of(i, schedule, positions, mechanism.depth))
    return Plan(Phase.SETTLED, cache_point, reason, schedule, scheduled, sources, _last_cached(schedule), cached_cost)


def output_plan(scheduler: Scheduler, mechanism: Mechanism, evaluations: Evaluations, reason: Reason) -> Plan:
    """The plan with the cache point `output`, for this reason."""
    if mechanism.probes:
        return uncached(Reason("dicache_needs_blocks", {"because": reason}))
    return _settled(evaluations, mechanism, tuple(scheduler(evaluations.times, 0.0)), "output", reason)


def blocks_plan(scheduler: Scheduler, mechanism: Mechanism, evaluations: Evaluations, cached_cost: float,
                reason: Reason) -> Plan:
    """The plan with the cache point `blocks`, or with `output` where the scheduler refuses what it costs.

    Args:
        cached_cost: of a cached evaluation, as a share of a computed one.
    """
    cost = round(cached_cost, 2)  # whole percents, the resolution of the budget
    try:
        schedule = tuple(scheduler(evaluations.times, cost))
    except ValueError:
        reason = Reason("cached_too_expensive", {"percent": round(100 * cost)})
        return output_plan(scheduler, mechanism, evaluations, reason)
    return _settled(evaluations, mechanism, schedule, "blocks", reason, cost)


def first_plan(scheduler: Scheduler, mechanism: Mechanism, evaluations: Evaluations, cache_point: str,
               obstacle: Reason | None, preferred: Reason | None) -> Plan:
    """What is known before a run starts: a settled plan, or one that probes the model's blocks.

    Args:
        cache_point: "auto", "blocks" or "output", as chosen.
        obstacle: why blocks can't be the cache point; None if nothing is known against them.
        preferred: why "auto" takes the output, where the mechanism is as good there; None for latents of several
            parts, whose sound is nearer at the blocks (docs/measurements.md).
    """
    if evaluations.refusal is not None:
        return uncached(evaluations.refusal)
    if not evaluations.times:
        return Plan(Phase.SETTLED, "none")
    try:
        free = tuple(scheduler(evaluations.times, 0.0))
    except ValueError as error:
        return uncached(Reason("schedule_refused", {"message": str(error)}))
    if all(free):
        return _settled(evaluations, mechanism, free, "none", Reason("all_computed"))
    if cache_point == "output":
        return output_plan(scheduler, mechanism, evaluations, Reason("chosen_on_node"))
    if mechanism.needs_gram:
        return output_plan(scheduler, mechanism, evaluations, Reason("output_recorded"))
    if obstacle is not None:
        return output_plan(scheduler, mechanism, evaluations, obstacle)
    if cache_point == "auto" and not mechanism.of_residual and preferred is not None:
        return output_plan(scheduler, mechanism, evaluations, preferred)
    return Plan(Phase.PROBING, "blocks")
