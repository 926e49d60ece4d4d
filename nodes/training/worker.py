"""A training's workflow on a worker of a cluster (see ray_actor): ReCache Train hands it over there.

Only plain values and tensors go in and out, because the pack may have another module name in each process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ...caching import PrefixCache
from ...caching.feature_kind import FeatureKind
from ...policies.schedule import Schedule
from .prepare import Prepared
from .references import recorded
from .rollouts import PREFIX_CACHE_BYTES, FewerSteps, Rollouts
from .samples import SampleSet


class Handover:
    """The trainings that nodes of this process handed over, by fingerprint; None where they train themselves."""

    received: dict[str, Prepared] | None = None


def hand_over(prepared: Prepared) -> bool:
    """Whether this process is a worker; it keeps the training then."""
    if Handover.received is None:
        return False
    Handover.received[prepared.fingerprint] = prepared
    return True


class Worker:
    """Computes costs and uncached outputs of one training.

    Args:
        fingerprint: of the training; a node of this process has handed it over.

    Raises:
        ValueError: what the nodes handed over is something else, such as other weights under the same name.
    """

    def __init__(self, fingerprint: str):
        if fingerprint not in (Handover.received or {}):
            raise ValueError("this worker's models, inputs or pack are not those of the machine that trains.")
        self._training = Handover.received[fingerprint]
        self._prefix_cache = PrefixCache(PREFIX_CACHE_BYTES)
        self._environments: dict[str, Rollouts | FewerSteps] = {}

    def reference(self, noises: int, seed: int, number: int, kind: str) -> dict[str, torch.Tensor]:
        """See references.recorded."""
        flow = self._training.workflow
        [sample] = SampleSet(noises, seed, [number]).of(flow)
        return recorded(flow, sample, FeatureKind(kind))

    def costs(self, name: str, job: dict[str, Any], rollouts: Sequence[tuple]) -> list[float]:
        """The costs of (computed, sample) pairs in the environment that `job` describes (see on_cluster)."""
        if name not in self._environments:
            self._environments[name] = self._environment(**job)
        environment = self._environments[name]
        return [environment.cost(Schedule(computed), sample) for computed, sample in rollouts]

    def _environment(self, n: int, samples: tuple, latents: list[torch.Tensor], objective: str,
                     cached: dict[str, Any] | None) -> Rollouts | FewerSteps:
        flow = self._training.workflow
        chosen = getattr(self._training.objectives, objective)
        common = flow, n, SampleSet(*samples).of(flow), [chosen.decode(latent) for latent in latents], chosen
        if cached is None:
            return FewerSteps(*common)
        settings = dict(cached)
        shares = settings.pop("shares")
        return Rollouts(*common, **settings, prefix_cache=self._prefix_cache if shares else None)
