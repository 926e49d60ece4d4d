"""Rollouts and uncached runs of a training on the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from math import ceil

from ...caching.feature_kind import FeatureKind
from ...policies.learning.checkpoint import Checkpoint
from ...policies.learning.environment import Environment
from ...policies.schedule import Schedule
from .cluster import Cluster
from .references import References
from .rollouts import FewerSteps, Rollouts
from .samples import SampleSet

TASKS_PER_WORKER = 1  # of a batch: more would even the load out, but fewer rollouts of a task would share prefixes
Rollout = tuple[tuple[bool, ...], int]  # which evaluations are computed, and the sample


class OnCluster(Environment):
    """An Environment whose batches the workers compute; what they leave out is computed here.

    Args:
        here: the same Environment in this process.
        name: of the environment among the training's.
        uncached: outputs of its samples.
        objective: "learn" or "choose".
    """

    def __init__(self, here: Rollouts | FewerSteps, cluster: Cluster, name: str, uncached: References, objective: str):
        self.n, self.samples, self.shares, self.width = here.n, here.samples, here.shares, cluster.width
        self._here = here
        self._cluster, self._name = cluster, name
        self._job = cluster.put({
            "n": here.n, "samples": tuple(asdict(uncached.samples).values()), "latents": uncached.latents,
            "objective": objective, "cached": here.cached})

    def cost(self, schedule: Schedule, sample: int) -> float:
        """See Environment; computed here."""
        return self._here.cost(schedule, sample)

    def made(self, schedule: Schedule) -> Schedule:
        """See Environment."""
        return self._here.made(schedule)

    def costs(self, pairs: list[tuple[Schedule, int]]) -> Iterator[tuple[tuple[Schedule, int], float]]:
        """See Environment."""
        asked = {(schedule.computed, sample): (schedule, sample) for schedule, sample in pairs}
        tasks = [(self._job, self._name, rollouts) for rollouts in parts(asked, self.width)]
        for (name, done), costs in self._cluster.results("costs", tasks):
            for rollout, cost in zip(done, costs):
                if name == self._name and rollout in asked:
                    yield asked[rollout], cost


def parts(rollouts: Iterable[Rollout], workers: int) -> list[list[Rollout]]:
    """A batch as tasks, of rollouts that share the longest prefixes."""
    ordered = sorted(rollouts, key=lambda rollout: (rollout[1], rollout[0]))
    size = ceil(len(ordered) / (TASKS_PER_WORKER * workers))
    return [ordered[i:i + size] for i in range(0, len(ordered), size)]


def make_references(cluster: Cluster, checkpoint: Checkpoint, name: str, samples: SampleSet, kind: FeatureKind,
                    on_sample: Callable[[str, int, int], None]) -> None:
    """Store the uncached outputs of samples that the checkpoint does not have; see references."""
    missing = [number for number in samples.numbers if not checkpoint.has(f"{name}-{number}")]
    tasks = [(samples.noises, samples.seed, number, kind.value) for number in missing]
    for count, ((_, _, number, _), tensors) in enumerate(cluster.results("reference", tasks), 1):
        on_sample(name, count, len(missing))
        checkpoint.store(f"{name}-{number}", tensors)
