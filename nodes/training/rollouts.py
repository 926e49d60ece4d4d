"""Environments of a workflow for the learner: the cost of a schedule on a sample, and of fewer uncached steps.

Rollouts of one sample with a common prefix share its network outputs (see caching.prefix_cache): they are the same run
up to the first decision that differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ... import caching
from ...caching.workflow import Sample, Workflow, WorkflowError
from ...policies.learning.environment import Environment
from ...policies.schedule import Schedule, with_starts
from .objective import Objective

PREFIX_CACHE_BYTES = 2 << 30  # of main memory, for network outputs that rollouts share


class Rollouts(Environment):
    """An Environment of a workflow's samples.

    Args:
        references: the uncached output of every sample, decoded by the objective.
        mechanism, order, cache_point: as on ReCache.
        prefix_cache: for network outputs that rollouts share; the caller clears it. None: rollouts share nothing.
        gram: see caching.CacheConfig. starts: see caching.evaluations.Evaluations.

    Attributes:
        shares: whether rollouts share common prefixes.
        cached: mechanism, order, cache point, gram, starts, and whether prefixes are shared: with the first four
            arguments they make the same environment elsewhere.
        report: the engine's report of the last rollout.
    """

    def __init__(self, workflow: Workflow, n: int, samples: Sequence[Sample], references: Sequence[torch.Tensor],
                 objective: Objective, mechanism: str, order: int, cache_point: str,
                 prefix_cache: caching.PrefixCache | None = None, gram: np.ndarray | None = None,
                 starts: Sequence[int] = ()):
        self.n, self.samples, self.shares = n, len(samples), prefix_cache is not None
        self.report: caching.Report | None = None
        self._workflow, self._samples, self._references, self._objective = workflow, samples, references, objective
        self.cached: dict[str, Any] | None = {
            "mechanism": mechanism, "order": order, "cache_point": cache_point, "gram": gram, "starts": starts,
            "shares": self.shares}
        self._computed: tuple[bool, ...] = ()
        self._starts = starts
        self._settings = caching.CacheConfig(
            schedule=lambda times, cached_cost: self._computed, mechanism=mechanism, order=order,
            cache_point=cache_point, published=self._note, prefix_cache=prefix_cache, gram=gram)

    def _note(self, report: caching.Report) -> None:
        self.report = report

    def made(self, schedule: Schedule) -> Schedule:
        """The schedule that a run under this one has: the first evaluation of every sampler is computed."""
        return with_starts(schedule, self._starts) if self._starts else schedule

    def run(self, schedule: Schedule, sample: int) -> torch.Tensor:
        """The latent of one run of `sample` under `schedule`.

        Raises:
            WorkflowError: the run was not cached as planned.
        """
        schedule = self.made(schedule)
        self._computed = schedule.computed
        latent = self._workflow.cached(self._samples[sample], self._settings)
        if self.report.computed != list(schedule.indices):
            if self.report.planned not in ([], list(schedule.indices)):  # the engine has moved some
                raise WorkflowError("changes in mid-run", caching.Reason("changes_mid_run"))
            unplanned = [reason for _, reason in self.report.unplanned]
            raise WorkflowError("not as planned", caching.Reason("not_as_planned"), *unplanned[:1], *self.report.notes)
        return latent

    def cost(self, schedule: Schedule, sample: int) -> float:
        """The objective's cost of that run."""
        return self._objective.cost(self._objective.decode(self.run(schedule, sample)), self._references[sample])


class FewerSteps(Environment):
    """Baseline: the same compute spent on fewer uncached steps. An Environment in which only k matters."""

    cached: dict[str, Any] | None = None

    def __init__(self, workflow: Workflow, n: int, samples: Sequence[Sample], references: Sequence[torch.Tensor],
                 objective: Objective):
        self.n, self.samples = n, len(samples)
        self._workflow, self._samples, self._references, self._objective = workflow, samples, references, objective

    def cost(self, schedule: Schedule, sample: int) -> float:
        """The objective's cost of an uncached run of k evaluations."""
        latent = self._workflow.uncached(self._samples[sample], schedule.k / self.n)
        return self._objective.cost(self._objective.decode(latent), self._references[sample])
