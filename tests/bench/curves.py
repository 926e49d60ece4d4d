"""What a training gives for what it spends: ReCache Train and BudCache's annealing, from a few hundred evaluations on.

Each point of "learned" is a training of its own, by ReCache Train with all network evaluations counted ("quick" first,
then ``--evaluations``); each point of "annealing" is the best that one search has met when it has spent so much, its
uncached runs included, a third of it on each k. Samples, seeds and prompts are the same; schedules are compared on
prompt-seed pairs that none has seen. Figures, for every model, method, seed and k: ``evaluations`` spent for all k,
``st_lpips``, and ``over_uniform``, its ratio to the uniform schedule's with the mechanism taylor 1.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from tests.bench.few_steps import Pictures, Runs
from tests.bench.figures import Figure, publish
from tests.bench.fitted import TRAINING, gram_for, train
from tests.bench.sampling import host

STEPS, KS = 50, (7, 9, 13)
MECHANISM = ("taylor", 1)


@dataclass
class Scores:
    """ST-LPIPS of schedules on the test pairs, each run once."""

    runs: Runs
    pictures: Pictures
    known: dict[tuple, float] = field(default_factory=dict)

    def of(self, indices: Sequence[int], mechanism: tuple[str, int], gram: np.ndarray | None = None) -> float:
        """The mean over the pairs; `gram` is a policy's."""
        key = tuple(indices), mechanism, None if gram is None else gram.tobytes()
        if key not in self.known:
            self.known[key] = float(self.pictures.distance(self.runs.cached(indices, mechanism, gram)).mean())
        return self.known[key]


def learned(demo, options, seed: int) -> Iterator[tuple[str, int, dict]]:
    """(method, evaluations spent, {k: (indices, mechanism, gram of L2P)})"""
    for total in (None, *options.evaluations):
        outcome = train(demo, STEPS, KS, prompts=options.prompts, evaluations=total or 0, quick=total is None,
                        mechanism=options.mechanism, seed=seed)
        schedules = {k: (schedule.indices, outcome.mechanisms[k], gram_for(outcome, k))
                     for k, schedule in outcome.learned.schedules.items()}
        yield "quick" if total is None else "learned", sum(outcome.evaluations.values()), schedules


def annealed(demo, options, seed: int) -> Iterator[tuple[str, int, dict]]:
    """The same by annealing."""
    from tests.bench.annealing import anneal_within
    from tests.bench.environment import JUDGES, DemoRollouts

    rollouts = DemoRollouts(demo, demo.samples(options.prompts, TRAINING), STEPS, MECHANISM, "output",
                            JUDGES["latent"])
    uncached = options.prompts * STEPS
    shares = {(total - uncached) // len(KS): total for total in options.evaluations}
    found = {k: anneal_within(rollouts, k, list(shares), seed) for k in KS}
    for share, total in shares.items():
        yield "annealing", total, {k: (of_k[share], MECHANISM, None) for k, of_k in found.items() if share in of_k}


METHODS: dict[str, Callable] = {"learned": learned, "annealing": annealed}


def measure(options, models: Path) -> Iterator[Figure]:
    from recache.policies.uniform import uniform
    from tests.bench import demo_models

    for name in options.models:
        demo = demo_models.load(name, models)
        runs = Runs(demo, demo.samples(options.test), STEPS)
        scores = Scores(runs, Pictures(demo, runs.reference))
        even = {k: scores.of(uniform(STEPS, k).indices, MECHANISM) for k in KS}
        for seed in range(options.seeds):
            for method in options.methods:
                started = time.monotonic()
                for label, spent, schedules in METHODS[method](demo, options, seed):
                    for k, (indices, mechanism, gram) in schedules.items():
                        cell = {"model": name, "method": label, "mechanism": "{} {}".format(*mechanism), "seed": seed,
                                "evaluations": spent, "k": k, "n": STEPS}
                        found = scores.of(indices, mechanism, gram)
                        yield Figure("st_lpips", found, "1", cell)
                        yield Figure("over_uniform", found / even[k], "1", cell)
                    print(f"{name} {label} seed {seed}: {spent} evaluations, {time.monotonic() - started:.0f} s",
                          file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--mechanism", default="auto", help="of ReCache Train")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[1800, 3600, 7200], help="in all")
    parser.add_argument("--prompts", type=int, default=8, help="training samples")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=64, help="prompt-seed pairs to compare on")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        publish(measure(options, comfy.models), options.json)


if __name__ == "__main__":
    main()
