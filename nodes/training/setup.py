"""What all phases of a training use, and the environments that they make of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ... import caching
from ...caching import mechanisms
from ...caching.evaluations import Evaluations
from ...caching.feature_kind import FeatureKind
from ...caching.workflow import Sample, Workflow
from ...policies.learning.checkpoint import Checkpoint
from ...policies.learning.environment import Memo
from .cluster import Cluster
from .objective import Objective, Objectives
from .on_cluster import OnCluster, make_references
from .references import References, references
from .request import Entry, Progress, Request
from .rollouts import FewerSteps, Rollouts
from .samples import SampleSet


@dataclass(frozen=True)
class Setup:
    """What all phases of one training use.

    Attributes:
        started: a monotonic time in seconds.
        cluster: of workers that hold the same training; None: all is computed here.
        suffix: of the names of memos in the checkpoint, one for each mechanism where the training chooses it.
        gram: mean inner products of the recorded predictions; None until they are recorded, and where mechanisms can't
            use them.
    """

    workflow: Workflow
    request: Request
    objectives: Objectives
    checkpoint: Checkpoint
    progress: Progress
    notes: list[caching.Reason]
    prefix_cache: caching.PrefixCache
    started: float
    cluster: Cluster | None = None
    suffix: str = ""
    gram: np.ndarray | None = None

    def should_stop(self) -> bool:
        """Whether the artist wants the best so far, or the time is up."""
        minutes = self.request.minutes
        return bool(minutes and time.monotonic() - self.started > 60.0 * minutes) or self.progress.stopped()

    def using(self, entry: Entry) -> Setup:
        """The same with this mechanism."""
        mechanism, order = entry
        suffix = f"-{mechanism}-{order}" if self.request.mechanism == caching.AUTO else ""
        return replace(self, request=replace(self.request, mechanism=mechanism, order=order), suffix=suffix)

    def mechanism(self, evaluations: Evaluations) -> mechanisms.Mechanism:
        """As it forecasts at these evaluations."""
        return mechanisms.make(self.request.mechanism, self.request.order, levels=evaluations.levels,
                               gram=evaluations.gram_of_positions(self.gram))

    def memo(self, name: str, environment: Rollouts | FewerSteps, uncached: References, objective: str) -> Memo:
        """A Memo of rollouts that the checkpoint knows by this name, computed by the cluster if there is one.

        Args:
            uncached: outputs of the environment's samples. objective: "learn" or "choose" (see Objectives).
        """
        name += self.suffix
        if self.cluster is not None:
            environment = OnCluster(environment, self.cluster, name, uncached, objective)
        return self.checkpoint.memo(environment, name, uncached.samples.numbers)

    def rollouts(self, evaluations: Evaluations, uncached: References, objective: Objective, shares: bool) -> Rollouts:
        """Rollouts of the samples of which these are the uncached outputs."""
        return self.rollouts_of(evaluations, uncached.samples.of(self.workflow), objective, uncached.decoded, shares)

    def rollouts_of(self, evaluations: Evaluations, samples: Sequence[Sample], objective: Objective,
                    decoded: Sequence[torch.Tensor], shares: bool) -> Rollouts:
        """See Rollouts; prefixes are shared in this training's prefix cache."""
        request = self.request
        return Rollouts(self.workflow, len(evaluations), samples, decoded, objective, request.mechanism, request.order,
                        request.cache_point, self.prefix_cache if shares else None, self.gram, evaluations.starts)

    def references(self, name: str, samples: SampleSet, objective: Objective, kind: FeatureKind,
                   given: torch.Tensor | None = None) -> References:
        """See references; the cluster makes them if there is one."""
        def prefetch(numbers: list[int]) -> None:
            if self.cluster is not None:
                make_references(self.cluster, self.checkpoint, name, replace(samples, numbers=numbers), kind,
                                self.progress.phase)

        return references(self.workflow, samples, objective, kind, self.checkpoint, name, self.progress.phase, given,
                          prefetch)
