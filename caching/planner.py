"""Decides, evaluation by evaluation, what a run computes."""

from __future__ import annotations

from .evaluations import Evaluations
from .mechanisms import Mechanism
from .plan import Phase, Schedule, blocks_plan, first_plan, full, output_plan
from .reasons import Reason
from .report import Report
from .settings import CacheConfig
from .turns import Turns


class Planner:
    """The current plan of a run, and whether the run follows it.

    Args:
        evaluations: that the sampler will make.
        streams: parts of the latent.
        obstacle: why blocks can't be the cache point, as far as it is known before the run; else None.
        report: gets a note if caching is disabled.

    Attributes:
        plan: what is computed; provisional while the model's blocks are probed.
        disabled: why nothing is cached any more; None while the plan is followed.
        obstacle: as above, or what probing the blocks has found since.
        sigmas: noise levels of the evaluations so far.
        forced: why the current evaluation is computed against the plan, or None.
        turns: what is asked about in turn.
    """

    def __init__(self, config: CacheConfig, evaluations: Evaluations, mechanism: Mechanism, streams: int,
                 obstacle: Reason | None, report: Report):
        self.obstacle = obstacle
        self.disabled: Reason | None = None
        self.sigmas: list[float] = []
        self.forced: Reason | None = None
        self.turns = Turns()
        self._cache_point = config.cache_point
        self._evaluations = evaluations
        self._inputs = config.schedule, mechanism, evaluations
        self._report = report
        preferred = Reason("output_preferred", {"mechanism": config.mechanism}) if streams == 1 else None
        self.plan = full() if config.computes_all else first_plan(
            *self._inputs, config.cache_point, obstacle, preferred)
        self._check_plan()

    def begin_evaluation(self, sigma: float) -> None:
        """Begin the next evaluation; at another noise level than planned, caching is disabled."""
        self.sigmas.append(sigma)
        self.forced = None
        left = self.plan.phase is not Phase.FULL and not self._evaluations.expects(self.index, sigma)
        if left and self.disabled is None:
            self.disable(Reason("left_plan", {"index": self.index}))

    @property
    def index(self) -> int:
        """Index of the current evaluation; -1 before the first."""
        return len(self.sigmas) - 1

    @property
    def probing(self) -> bool:
        """Whether the cache point is still open."""
        return self.plan.phase is Phase.PROBING and self.disabled is None

    @property
    def computes(self) -> bool:
        """Whether this evaluation is to run the network."""
        return self.disabled is not None or self.plan.computes(self.index)

    @property
    def stores(self) -> bool:
        """Whether a forecast will use the features of this evaluation, if it is computed."""
        if self.disabled is not None:
            return False
        return self.plan.stores(self.index) or (self.forced is not None and self.caches_later)

    @property
    def caches_later(self) -> bool:
        """Whether a later evaluation is to be forecast, as far as is known."""
        return self.disabled is None and self.plan.caches_from(self.index + 1)

    @property
    def may_hold(self) -> bool:
        """Whether memory may be held for this or a later forecast."""
        return self.disabled is None and self.plan.caches_from(self.index)

    @property
    def unplanned(self) -> Reason | None:
        """Why this evaluation was computed though the plan has it cached; None if the plan has it computed."""
        if self.plan.computes(self.index):
            return None
        return self.forced or self.disabled or Reason("another_node_asked")

    @property
    def followed(self) -> Schedule | None:
        """The schedule; None if it is not settled, or not followed any more."""
        return self.plan.schedule if self.plan.settled and self.disabled is None else None

    def refuse_blocks(self, reason: Reason) -> None:
        """Blocks can't be skipped in this call."""
        if self.probing:
            self.obstacle = reason
        elif not self.computes:
            self.force(reason)

    def use_output(self, reason: Reason) -> None:
        """Make the model's output the cache point."""
        self.plan = output_plan(*self._inputs, reason)
        self._check_plan()

    def use_blocks(self, cached_cost: float) -> None:
        """Make the network's blocks the cache point, unless the schedule can't be kept there."""
        reason = Reason("chosen_on_node" if self._cache_point == "blocks" else "blocks_possible")
        self.plan = blocks_plan(*self._inputs, cached_cost, reason)
        self._check_plan()

    def ask(self, what: tuple) -> None:
        """This evaluation asks about `what`; where it is another's turn to be computed, the next one is instead."""
        self.turns.ask(what, self.index)
        if self.followed and self.computes and self.turns.others_turn(self.index):
            self._move(self.index, self._next(computed=False))

    def claim(self) -> bool:
        """Compute this evaluation in the place of the next that is planned; False if there is none."""
        return self._move(self._next(computed=True), self.index)

    def force(self, reason: Reason) -> None:
        """Compute this evaluation, whatever is planned."""
        self.forced = self.forced or reason

    def _next(self, computed: bool) -> int | None:
        """The next evaluation that is planned to be computed, or not to be."""
        schedule = self.plan.schedule
        return next((i for i in range(self.index + 1, len(schedule)) if schedule[i] == computed), None)

    def _move(self, source: int | None, target: int | None) -> bool:
        if source is None or target is None:
            return False
        self.plan = self.plan.moved(source, target)
        self._report.note(Reason("plan_moved"))
        return True

    def disable(self, reason: Reason) -> None:
        """Compute everything from here on, and report why."""
        if self.disabled is None:
            self.disabled = reason
            self._report.note(reason)

    def _check_plan(self) -> None:
        if self.plan.phase is Phase.UNCACHED:
            self.disable(self.plan.reason)
        elif self.plan.added:
            self._report.note(Reason("parts_added", {"count": self.plan.added}))
        elif self.plan.schedule != self.plan.scheduled:
            self._report.note(Reason("plan_moved"))
