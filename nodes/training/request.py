"""The input and the result of a training, and its progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...caching import Reason
from ...policies.learning.search import Learned
from ...policies.policy_file import PolicyFile
from ...policies.schedule import Schedule


@dataclass(frozen=True)
class Request:
    """An artist's settings for a training.

    Attributes:
        budgets: shares of the full compute, each above 0 and at most 1.
        samples, held_out: training and held-out noises for every prompt; 1 or more.
        mechanism, order, cache_point: as on ReCache Budget; the mechanism "auto" lets candidates race (see
            mechanism_race), and has no order.
        evaluations: maximum of network evaluations of the search on training samples.
        minutes: time limit, after which the best so far is kept; 0 for none.
    """

    budgets: tuple[float, ...]
    samples: int
    held_out: int
    mechanism: str
    order: int
    cache_point: str
    evaluations: int
    minutes: float = 0.0


@dataclass(frozen=True)
class Progress:
    """Callbacks of a training.

    Attributes:
        phase: called as a phase begins, with its name, its part from 1 and the number of parts: every "reference" and
            "held-out" uncached run, then "mechanisms" (where they race), "starts", "search" and "fewer steps".
        on_rollout: called before every rollout with (evaluations, {k: gain}, curve so far, evaluations of a run); see
            policies.learning.search.
        stopped: whether the artist asked to stop and keep the best so far.
    """

    phase: Callable[[str, int, int], None] = lambda name, part, parts: None
    on_rollout: Callable[[int, dict[int, float], list[tuple[int, float]], int], None] = lambda *so_far: None
    stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Outcome:
    """The result of a training.

    Attributes:
        learned: schedules, winners, validation and curve (see policies.learning.search).
        starts: {name: {k: schedule}} that learning began with.
        table: {k: {name: mean held-out cost}}, including "fewer steps".
        n: evaluations of a run. cache_point, cached_cost: as the engine resolved them.
        evaluations: {purpose: network evaluations}: "uncached", "rollouts" and "held out".
        shared: evaluations that rollouts took from common prefixes instead of the network.
        notes: for the artist.
    """

    policy: PolicyFile
    learned: Learned
    starts: dict[str, dict[int, Schedule]]
    table: dict[int, dict[str, float]]
    n: int
    cache_point: str
    cached_cost: float
    evaluations: dict[str, int]
    shared: int
    notes: list[Reason] = field(default_factory=list)
