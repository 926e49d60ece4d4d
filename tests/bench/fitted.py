"""Schedules that are fitted to a demo model at one number of steps: by ReCache Train itself, and by its rivals.

All learn from the same prompts: ReCache Train with one training and one held-out noise for each, its mechanism "auto",
chosen by pictures; the rivals with the default mechanism of each k.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from tests.bench.st_lpips import st_lpips

TRAINING = 500  # number of the first training pair; the test's begin at 0
METHODS = ("learned", "dp", "otcache", "annealing")

Found = dict[int, tuple[tuple[str, int], tuple[int, ...]]]  # {k: (mechanism and order, computed evaluations)}


class _Pictures:
    """The demo model's VAE as the objective of a training uses one."""

    latent_dim = 3  # it decodes clips too, frame by frame

    def __init__(self, demo):
        self._demo = demo

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        return self._demo.pictures(latents).movedim(2, -1)


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Root of ST-LPIPS, the mean over frames: [batch, frames, height, width, 3] twice -> [batch]."""
    found, wanted = (pictures.movedim(-1, 2).flatten(0, 1) for pictures in (a, b))
    return st_lpips(found, wanted).unflatten(0, (len(a), -1)).mean(1).clamp_min(0.0).sqrt()


def train(demo, n: int, ks: Sequence[int], *, prompts: int, evaluations: int, quick: bool = False,
          mechanism: str = "auto", order: int = 1, samples: int = 1, seed: int = 0):
    """ReCache Train's own training of a demo model (see nodes.training.training): its Outcome."""
    from recache.nodes.training.objective import Objective, Objectives
    from recache.nodes.training.request import QUICK_EVALUATIONS, Request, noises
    from recache.nodes.training.training import train as trained
    from recache.policies.learning.checkpoint import Checkpoint
    from recache.policies.metrics.metric import Metric
    from recache.policies.policy_file import About

    prompts = min(prompts, 2) if quick else prompts
    samples, held_out = noises(prompts, samples, quick)
    workflow, _, _ = demo.workflow(demo.samples(prompts, TRAINING), n)
    workflow.seed = seed
    request = Request(tuple(k / n for k in ks), samples, held_out, mechanism, order, "output",
                      QUICK_EVALUATIONS if quick else evaluations, quick=quick)
    objectives = Objectives(Objective(), Objective(Metric("root of ST-LPIPS", _distance), _Pictures(demo)))
    about = About("bench", "0", "", mechanism, "", demo.sampler, demo.scheduler, n, demo.cfg, [], "")
    with tempfile.TemporaryDirectory() as folder:
        return trained(workflow, request, objectives, Checkpoint(Path(folder)), about)


def gram_for(outcome, k: int):
    """What a training's policy holds for L2P; None where k has another mechanism."""
    return outcome.policy.gram if outcome.mechanisms[k][0] == "l2p" else None


@dataclass
class Fitted:
    """The methods of METHODS on one demo model.

    Attributes:
        runs: of the training samples (see few_steps.Runs). ks: ascending. evaluations: of ReCache Train, in all.
    """

    runs: object
    ks: Sequence[int]
    evaluations: int

    def find(self, method: str) -> Found:
        """What `method` found."""
        return getattr(self, method)

    @cached_property
    def _outcome(self):
        runs = self.runs
        return train(runs.demo, runs.n, self.ks, prompts=len(runs.samples), evaluations=self.evaluations)

    @property
    def learned(self) -> Found:
        """By ReCache Train."""
        outcome = self._outcome
        return {k: (outcome.mechanisms[k], s.indices) for k, s in outcome.learned.schedules.items()}

    def gram(self, method: str, k: int):
        """See gram_for."""
        return gram_for(self._outcome, k) if method == "learned" else None

    @cached_property
    def dp(self) -> Found:
        """By DPCache's dynamic program over the recorded errors of the forecasts."""
        from recache.caching import mechanisms
        from recache.caching.feature_kind import FeatureKind
        from recache.nodes.training.mechanism_race import tried_schedules
        from recache.policies.defaults import default_mechanism

        found, plan = {}, self.runs.workflow.dry_run()
        for k in self.ks:
            mechanism = default_mechanism(self.runs.n, k)
            made = mechanisms.make(*mechanism, levels=plan.levels)
            tried = tried_schedules([k], plan, self.runs.gram, FeatureKind.DIRECTION, made)
            found[k] = mechanism, tried[k][-1].indices
        return found

    @cached_property
    def otcache(self) -> Found:
        """By OTCache (arXiv 2606.31026): quantiles between the dynamic program's for the smallest and the largest k."""
        from recache.policies.defaults import default_mechanism
        from recache.policies.interpolation import Interpolation
        from recache.policies.schedule import from_indices

        n = self.runs.n
        between = Interpolation({k: from_indices(self.dp[k][1], n) for k in (self.ks[0], self.ks[-1])})
        return {k: (default_mechanism(n, k), between.schedule(k).indices) for k in self.ks}

    @cached_property
    def annealing(self) -> Found:
        """By BudCache's annealing and hill climbing (arXiv 2606.13496), with as many evaluations as ReCache Train."""
        from recache.policies.defaults import default_mechanism
        from tests.bench.annealing import anneal_within
        from tests.bench.environment import JUDGES, DemoRollouts

        found, n, runs = {}, self.runs.n, self.runs
        share = (self.evaluations - n * len(runs.samples)) // len(self.ks)
        for k in self.ks:
            mechanism = default_mechanism(n, k)
            rollouts = DemoRollouts(runs.demo, runs.samples, n, mechanism, "output", JUDGES["latent"])
            found[k] = mechanism, anneal_within(rollouts, k, [share], seed=0)[share]
        return found
