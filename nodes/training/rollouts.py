"""The environment that a policy learns from: what a schedule costs on a sample of the workflow.

Rollouts of one sample whose schedules have a common prefix compute it once (see caching.PrefixCache).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ... import caching
from ...caching.workflow import Sample, Workflow, WorkflowError
from ...policies.schedule import Schedule
from ..server.wording import language, reason_text
from .judges import Judge


class Rollouts:
    """An Environment of a workflow's samples; nothing of it grows but `prefix_cache`.

    Args:
        references: what the judge sees in each sample's uncached output.
        mechanism, order, cache_point: as on ReCache Budget.
        answers: what the network answered, shared by all rollouts; None: every rollout computes all of its own. The
            caller clears it.

    Attributes:
        shares: whether rollouts that begin alike compute their beginning once.
        report: what the engine says of the last rollout.
    """

    def __init__(self, workflow: Workflow, n: int, samples: Sequence[Sample], references: Sequence[torch.Tensor],
                 judge: Judge, mechanism: str, order: int, cache_point: str,
                 prefix_cache: caching.PrefixCache | None = None):
        self.n, self.samples, self.shares = n, len(samples), prefix_cache is not None
        self.report: caching.Report | None = None
        self._workflow, self._samples, self._references, self._judge = workflow, samples, references, judge
        self._computed: tuple[bool, ...] = ()
        self._settings = caching.CacheConfig(
            schedule=lambda times, cached_cost: self._computed, mechanism=mechanism, order=order,
            cache_point=cache_point, published=self._note, prefix_cache=prefix_cache)

    def _note(self, report: caching.Report) -> None:
        self.report = report

    def run(self, schedule: Schedule, sample: int) -> torch.Tensor:
        """The latent of one run of `sample` under `schedule`.

        Raises:
            WorkflowError: the run was not cached as it was to be.
        """
        self._computed = schedule.computed
        latent = self._workflow.cached(self._samples[sample], self._settings)
        if self.report.computed != list(schedule.indices):
            reasons = [reason for _, reason in self.report.unplanned] + self.report.notes
            why = " ".join(reason_text(reason, language()) for reason in reasons) or "reason unknown"
            raise WorkflowError(f"this workflow can't be cached as planned: {why}")
        return latent

    def cost(self, schedule: Schedule, sample: int) -> float:
        """The judge's cost of that run."""
        return self._judge.cost(self._judge.decode(self.run(schedule, sample)), self._references[sample])


class FewerSteps:
    """The environment of an artist who has no cache: only the number of evaluations that a schedule computes counts."""

    def __init__(self, workflow: Workflow, n: int, samples: Sequence[Sample], references: Sequence[torch.Tensor],
                 judge: Judge):
        self.n, self.samples = n, len(samples)
        self._workflow, self._samples, self._references, self._judge = workflow, samples, references, judge

    def cost(self, schedule: Schedule, sample: int) -> float:
        """The judge's cost of an uncached run with so few steps that it takes as many evaluations."""
        latent = self._workflow.uncached(self._samples[sample], schedule.k / self.n)
        return self._judge.cost(self._judge.decode(latent), self._references[sample])

