"""What workers that compute rollouts at once save a training: its length with 1, 2, 4 and 8 of them, in evaluations.

A training as the node's defaults make it: 50 steps, budgets of 7, 9 and 13 evaluations, four noises and four held out.
The model is a toy (a Gaussian mixture) whose search takes as many rounds as a real one's; rollouts are handed out as to
a cluster, each worker computes a prefix that it has not seen, and the longest worker of a batch is waited for. Neither
starting the workers nor talking to them is counted, nor whatever the machine that trains does itself.

Figures: ``length`` in evaluations of the network, one after the other, for the uncached runs and the search with its
held-out runs; ``speedup`` over one worker; ``evaluations`` that all workers made; ``hours`` at half a second each, as
FLUX.1-dev may take.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from math import ceil
from pathlib import Path

from recache.policies.learning.environment import Environment
from tests.bench.figures import Figure, publish
from tests.hosting import session

STEPS, KS, SAMPLES, EVALUATIONS = 50, (7, 9, 13), 4, 3600
SECONDS = 0.5
WORKERS = (1, 2, 4, 8)


class Clocked(Environment):
    """The toy on so many workers, with the time of the slowest of them."""

    def __init__(self, toy, workers: int, split):
        self.n, self.samples, self.shares, self._toy, self._split = toy.n, toy.samples, True, toy, split
        self.width, self.length, self.made = workers, 0, 0
        self._seen: list[set] = [set() for _ in range(workers)]

    def costs(self, pairs) -> Iterator:
        """Tasks go to the worker that is free first."""
        busy = [0] * self.width
        for task in self._split([(schedule.computed, sample) for schedule, sample in pairs], self.width):
            worker = busy.index(min(busy))
            busy[worker] += sum(self._run(worker, computed, sample) for computed, sample in task)
        self.length += max(busy)
        yield from (((schedule, sample), self._toy.cost(schedule, sample)) for schedule, sample in pairs)

    def cost(self, schedule, sample: int) -> float:
        """One rollout, which all others wait for."""
        self.length += self._run(0, schedule.computed, sample)
        return self._toy.cost(schedule, sample)

    def _run(self, worker: int, computed: tuple[bool, ...], sample: int) -> int:
        prefixes = {(sample, computed[:i + 1]) for i, is_computed in enumerate(computed) if is_computed}
        new = len(prefixes - self._seen[worker])
        self._seen[worker] |= prefixes
        self.made += new
        return new


def measure() -> Iterator[Figure]:
    from recache.nodes.training.on_cluster import parts
    from recache.policies.defaults import default_schedule
    from recache.policies.learning.search import LearnConfig, learn
    from recache.policies.uniform import uniform
    from tests.test_policies_learner import Mixture

    starts = {"uniform": {k: uniform(STEPS, k) for k in KS}, "default": {k: default_schedule(STEPS, k) for k in KS}}
    first, schedules = None, None
    for workers in WORKERS:
        toys = [Clocked(Mixture(SAMPLES, seed, n=STEPS), workers, parts) for seed in (0, 1)]
        left = EVALUATIONS - 2 * SAMPLES * STEPS - 4 * SAMPLES * sum(KS)
        learned = learn(*toys, starts, LearnConfig(evaluations=left))
        if schedules not in (None, learned.schedules):
            raise RuntimeError("more workers gave other schedules")
        schedules = learned.schedules
        length = sum(toy.length for toy in toys) + STEPS * ceil(2 * SAMPLES / workers)
        first = first or length
        cell = {"workers": workers}
        yield Figure("length", length, "1", cell)
        yield Figure("speedup", first / length, "1", cell)
        yield Figure("evaluations", sum(toy.made for toy in toys) + 2 * SAMPLES * STEPS, "1", cell)
        yield Figure("hours", length * SECONDS / 3600, "h", cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        publish(measure(), options.json)


if __name__ == "__main__":
    main()
