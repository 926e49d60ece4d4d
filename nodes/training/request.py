"""The input and the result of a training, and its progress callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ...caching import Reason
from ...caching.workflow import WorkflowError
from ...policies.budget import computed_for_budget
from ...policies.learning.search import Learned
from ...policies.policy_file import PolicyFile
from ...policies.schedule import Schedule

Entry = tuple[str, int]  # mechanism and order

QUICK_EVALUATIONS = 900
QUICK_SAMPLES = 2  # training samples, and as many held out
LEAST_HELD_OUT = 4


def noises(prompts: int, samples: int, quick: bool) -> tuple[int, int]:
    """Training noises for every prompt, and held-out samples in all: half as many as training samples, four or more.

    Args:
        samples: training noises that the artist wants for every prompt.
        quick: as few as can be compared; there are at most two prompts.
    """
    if quick:
        return QUICK_SAMPLES // prompts, QUICK_SAMPLES
    return samples, max(LEAST_HELD_OUT, samples * prompts // 2)


def held_out_noises(samples: int) -> int:
    """Noises of every prompt that held-out samples are taken from; a checkpoint numbers all of them."""
    return max(LEAST_HELD_OUT, samples // 2)


@dataclass(frozen=True)
class Request:
    """An artist's settings for a training.

    Attributes:
        budgets: shares of the full compute, each above 0 and at most 1.
        samples: training noises for every prompt; 1 or more.
        held_out: held-out samples in all, of the prompts in turn; 1 or more.
        mechanism, order, cache_point: as on ReCache; with the mechanism "auto", which has no order, candidates race for
            every k (see mechanism_race).
        evaluations: maximum of network evaluations in all. Races and starts are as many as it pays for, and the search
            takes what is left. The uncached runs, the default schedules and the held-out runs are made whatever it is.
        minutes: time limit, after which the best so far is kept; 0 for none.
        quick: the mechanism "auto" is the default one of every k, without a race.
    """

    budgets: tuple[float, ...]
    samples: int
    held_out: int
    mechanism: str
    order: int
    cache_point: str
    evaluations: int
    minutes: float = 0.0
    quick: bool = False

    def computed(self, n: int, cached_cost: float) -> list[int]:
        """The k of the budgets in a run of n evaluations, ascending, without those that leave no choice.

        Raises:
            WorkflowError: there is nothing to learn.
        """
        ks = sorted({computed_for_budget(b, n, cached_cost) for b in self.budgets} - {1, n})
        if not ks:
            raise WorkflowError("these budgets pay for every evaluation or for one, so there is nothing to learn; "
                                "choose others.")
        return ks


@dataclass(frozen=True)
class Progress:
    """Callbacks of a training.

    Attributes:
        phase: called as a phase begins, with its name, its part from 1 and the number of parts: every "reference" and
            "held-out" uncached run, then "mechanisms", "starts", "search" and "fewer steps".
        on_rollout: called before every rollout with (evaluations in all, {k: gain}, curve so far, evaluations of a
            run); see policies.learning.search.
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
        mechanisms: {k: mechanism and order}.
        n: evaluations of a run. cache_point, cached_cost: as the engine resolved them.
        evaluations: {purpose: network evaluations}: "uncached", "rollouts" and "held out".
        shared: evaluations that rollouts took from common prefixes instead of the network.
        notes: for the artist.
    """

    policy: PolicyFile
    learned: Learned
    starts: dict[str, dict[int, Schedule]]
    table: dict[int, dict[str, float]]
    mechanisms: dict[int, Entry]
    n: int
    cache_point: str
    cached_cost: float
    evaluations: dict[str, int]
    shared: int
    notes: list[Reason] = field(default_factory=list)
