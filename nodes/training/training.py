"""A training from beginning to end: uncached outputs, starts, learning, and the policy with its held-out table."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from ... import caching
from ...caching import mechanisms
from ...caching.dry_run import Evaluations
from ...caching.recording import Recorded, Recording, Surrogate, kind_of, segment_costs, segment_errors, step_weights
from ...caching.workflow import Sample, Workflow, WorkflowError
from ...policies.budget import computed_for_budget
from ...policies.learning.checkpoint import Checkpoint
from ...policies.learning.dynamic_program import solve
from ...policies.learning.environment import Memo, race
from ...policies.learning.local_search import hill_climb
from ...policies.learning.search import LearnConfig, Learned, Stop, learn, mean_gain
from ...policies.policy import from_schedules
from ...policies.policy_file import About, PolicyFile
from ...policies.schedule import Schedule, from_indices
from ...policies.uniform import uniform
from .judges import Judge, Judges
from .rollouts import FewerSteps, Rollouts

SAME_OUTPUT = 0.05  # difference of two outputs that counts as none: graphics cards do not repeat to the bit
POWERS = (0.25, 0.5, 0.75, 1.0)  # see recording.step_weights; the best differs between models and k
DP_POWER = 0.5
PREFIX_CACHE_BYTES = 2 << 30  # of main memory, for what rollouts that begin alike share
HELD_OUT_SEED = 0x5EED  # added to the seed for samples that are not trained on


@dataclass(frozen=True)
class Request:
    """What an artist asks of a training.

    Attributes:
        budgets: shares of the full compute, each above 0 and at most 1.
        samples, held_out: noises of every prompt to learn on and to choose on; 1 or more.
        mechanism, order, cache_point: as on ReCache Budget.
        evaluations: network evaluations that the search may take on training samples.
        minutes: after which the best so far is kept; 0 for no limit.
    """

    budgets: tuple[float, ...]
    samples: int
    held_out: int
    mechanism: str
    order: int
    cache_point: str
    evaluations: int
    minutes: float = 0.0


@dataclass
class Progress:
    """What a training shows while it runs; every method may be replaced.

    Attributes:
        phase: called as a part of the training begins, with its name, its number from 1 and how many there are: every
            "reference" and "held-out" uncached run, then "starts", "search" and "fewer steps".
        on_rollout: called before every rollout with (evaluations, {k: gain}, curve so far, evaluations of a run); see
            policies.learning.search.
        stopped: whether the artist asked to stop and keep the best so far.
    """

    phase: Callable[[str, int, int], None] = lambda name, part, parts: None
    on_rollout: Callable[[int, dict[int, float], list[tuple[int, float]], int], None] = lambda *so_far: None
    stopped: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Outcome:
    """What a training gives.

    Attributes:
        learned: schedules, winners, validation and curve (see policies.learning.search).
        starts: {name: {k: schedule}}, what learning began with.
        table: {k: {name: mean held-out cost}}, with fewer steps too.
        n: evaluations of a run. cache_point, cached_cost: as the engine settled them.
        evaluations: {purpose: network evaluations}, of references, rollouts and held-out rollouts.
        shared: evaluations that rollouts compute besides those, but that an earlier one of the same beginning had
            computed already.
        notes: sentences for the artist.
    """

    policy: PolicyFile
    learned: Learned
    starts: dict[str, dict[int, Schedule]]
    table: dict[int, dict[str, float]]
    n: int
    cache_point: str
    cached_cost: float
    evaluations: dict[str, int]
    shared: int
    notes: list[str] = field(default_factory=list)


class Training:
    """See `run`. The same arguments and an empty checkpoint give the same policy, unless time ran out.

    Args:
        about: what the policy file says of the workflow; fields that only training knows are filled in.
        references: uncached outputs that exist already, in the order of the training samples; they are checked.
        notes: sentences for the artist, such as the checkpoint's; more may be added.
    """

    def __init__(self, workflow: Workflow, request: Request, judges: Judges, checkpoint: Checkpoint, about: About,
                 references: torch.Tensor | None = None, progress: Progress | None = None,
                 notes: list[str] | None = None):
        self.workflow, self.request, self.judges, self.checkpoint = workflow, request, judges, checkpoint
        self.about, self.given, self.progress = about, references, progress or Progress()
        self.notes = [] if notes is None else notes
        self.started = time.monotonic()
        self.kind, self.shares = "", False
        self.prefix_cache = caching.PrefixCache(PREFIX_CACHE_BYTES)
        self.spent = {"uncached": 0, "rollouts": 0, "held out": 0}
        self.curve: list[tuple[int, float]] = []

    def run(self) -> Outcome:
        """Train, and choose on held-out samples.

        Raises:
            WorkflowError: this workflow can't be trained on, or the references are not of it.
        """
        try:
            return self._run()
        finally:
            self.prefix_cache.clear()

    def _run(self) -> Outcome:
        request, seed = self.request, self.workflow.seed
        evaluations = self.workflow.dry_run()
        n = len(evaluations)
        training = self.workflow.samples(request.samples, seed)
        report = self._probe(training, n)
        self.kind = kind_of(evaluations, self._mechanism(), report.cache_point)
        ks = sorted({computed_for_budget(b, n, report.cached_cost) for b in request.budgets} - {1, n})
        if not ks:
            raise WorkflowError("these budgets pay for every evaluation or for one, so there is nothing to learn; "
                                "choose others.")
        held_out = self.workflow.samples(request.held_out, (seed + HELD_OUT_SEED) % 2**64)
        learn_by, choose_by = self.judges.learn, self.judges.choose
        seen, gram = self._references(training, learn_by, "reference", self.given)
        held_seen, _ = self._references(held_out, choose_by, "held-out")
        self.progress.phase("starts", 1, 1)
        memo = self.checkpoint.memo(self._rollouts(n, training, learn_by, seen), "costs")
        starts = recorded_starts(ks, evaluations, gram, self.kind, self._mechanism(), memo)
        held_memo = self.checkpoint.memo(self._rollouts(n, held_out, choose_by, held_seen), "held-out")
        config = LearnConfig(evaluations=request.evaluations, seed=seed % 2**31)
        self.progress.phase("search", 1, 1)
        with torch.inference_mode(False), torch.enable_grad():  # ComfyUI runs nodes without gradients
            learned = learn(memo, held_memo, starts, config, partial(self._learning, n))
        self.spent["rollouts"] += learned.evaluations
        self.spent["held out"] += learned.held_out_evaluations
        shared = sum(memo.asked - memo.evaluations for memo in (memo, held_memo))
        if self.prefix_cache.recomputed:
            self.notes.append(f"{self.prefix_cache.recomputed:,} evaluations were computed again, because the outputs "
                              f"of all rollouts take more than {PREFIX_CACHE_BYTES >> 30} GB of memory.")
        table = self._table(learned, FewerSteps(self.workflow, n, held_out, held_seen, choose_by))
        return Outcome(self._file(learned, table, report), learned, starts, table, n, report.cache_point,
                       report.cached_cost, self.spent, shared, self.notes)

    def _probe(self, samples: list[Sample], n: int) -> caching.Report:
        """A cached run or two: how the engine caches this workflow, and whether the checkpoint is of it.

        A checkpoint is found by its fingerprint, which can't see everything that other nodes put on a model; nor can
        anyone see whether they make an evaluation depend on those before it, so that rollouts must not share any. It is
        tried, once for a checkpoint: what is counted depends on it.
        """
        rollouts = self._rollouts(n, samples, self.judges.learn, [])
        schedule = uniform(n, max(1, n // 4))
        half = max(1, schedule.k // 2)
        latent, report = rollouts.run(schedule, 0), rollouts.report
        before = self.checkpoint.tensors("probe") or {}
        if before and not ("latent" in before and _difference(before["latent"], latent) <= SAME_OUTPUT):
            self.checkpoint.forget("The checkpoint is not of this workflow any more, so training begins anew.")
            before = {}
        if "shares" not in before:
            self.shares = True
            rollouts = self._rollouts(n, samples, self.judges.learn, [])
            rollouts.run(from_indices(schedule.indices[:half], n), 0)
            before = {"latent": latent, "shares": torch.tensor(torch.equal(rollouts.run(schedule, 0), latent))}
            self.checkpoint.store("probe", before)
        self.shares = bool(before["shares"])
        self.spent["rollouts"] += 2 * schedule.k + (0 if self.shares else half)
        return report

    def _rollouts(self, n: int, samples: list[Sample], judge: Judge, seen: list[torch.Tensor]) -> Rollouts:
        request = self.request
        return Rollouts(self.workflow, n, samples, seen, judge, request.mechanism, request.order,
                        request.cache_point, self.prefix_cache if self.shares else None)

    def _references(self, samples: list[Sample], judge: Judge, name: str, given: torch.Tensor | None = None):
        """What the judge sees in each uncached output, and the mean inner products of the recorded ones."""
        if given is not None and len(given) > len(samples):
            raise WorkflowError(
                f"there are {len(given)} references for {len(samples)} training samples; raise samples.")
        count = 0 if given is None else len(given)
        checked = {0, count - 1}
        seen, grams = [], []
        for i, sample in enumerate(samples):
            self.progress.phase(name, i + 1, len(samples))
            if i < count and i not in checked:
                latent = given[i:i + 1].to("cpu", torch.float32)
            else:
                latent, gram = self._uncached(sample, f"{name}-{i}")
                grams.append(gram)
                if i < count:
                    _check(given[i:i + 1].to("cpu", torch.float32), latent, i)
            seen.append(judge.decode(latent))
        return seen, np.mean(grams, 0)

    def _uncached(self, sample: Sample, name: str) -> tuple[torch.Tensor, np.ndarray]:
        stored = self.checkpoint.tensors(name)
        if stored is None or {"latent", "gram"} - set(stored):
            recording = Recording(self.kind)
            latent = self.workflow.reference(sample, recording)
            stored = {"latent": latent, "gram": torch.from_numpy(recording.gram())}
            self.checkpoint.store(name, stored)
        self.spent["uncached"] += len(stored["gram"])
        return stored["latent"], stored["gram"].numpy()

    def _mechanism(self) -> mechanisms.Mechanism:
        return mechanisms.make(self.request.mechanism, self.request.order)

    def _learning(self, n: int, evaluations: int, gains: dict[int, float]) -> None:
        gain = mean_gain(gains)
        if not self.curve or gain > self.curve[-1][1]:
            self.curve.append((evaluations, gain))
        self.progress.on_rollout(evaluations, gains, self.curve, n)
        out_of_time = self.request.minutes and time.monotonic() - self.started > 60.0 * self.request.minutes
        if out_of_time or self.progress.stopped():
            raise Stop

    def _table(self, learned: Learned, fewer: FewerSteps) -> dict[int, dict[str, float]]:
        self.progress.phase("fewer steps", 1, 1)
        memo = self.checkpoint.memo(fewer, "fewer-steps")
        return {k: learned.validation[k] | {"fewer steps": memo.mean_cost(uniform(fewer.n, k))}
                for k in learned.schedules}

    def _file(self, learned: Learned, table: dict[int, dict[str, float]], report: caching.Report) -> PolicyFile:
        request = self.request
        training = {
            "learned by": self.judges.learn.name,
            "samples": request.samples * len(self.workflow.guiders), "prompts": len(self.workflow.guiders),
            "held-out samples": request.held_out * len(self.workflow.guiders),
            "evaluations": sum(self.spent.values()), "seconds": round(time.monotonic() - self.started, 1)}
        about = replace(
            self.about, mechanism=request.mechanism, cache_point=report.cache_point, reward=self.judges.choose.name,
            mechanism_options={} if report.order is None else {"order": report.order}, training=training)
        return PolicyFile(from_schedules(learned.schedules, learned.policy), about, table)


def recorded_starts(ks: list[int], evaluations: Evaluations, gram: np.ndarray, kind: str,
                    mechanism: mechanisms.Mechanism, memo: Memo) -> dict[str, dict[int, Schedule]]:
    """What learning begins with: {"uniform", "dp", "recorded": {k: schedule}}, from recorded uncached runs.

    "dp" is the dynamic program's; "recorded" wins a race on the training samples, of such programs for several ways to
    weigh errors and of what climbs from them on the error that all forecasts sum up to.

    Args:
        gram, kind: see recording; not used if of another size than the run, because an evaluation was not recorded.
    """
    n, times = len(evaluations), evaluations.times
    even = {k: Schedule(uniform(n, k).computed, times) for k in ks}
    if len(gram) != n:
        return {"uniform": even}
    recorded = Recorded(gram, evaluations.positions, mechanism)
    errors = segment_errors(recorded)
    found: dict[int, list[Schedule]] = {k: [] for k in ks}
    programs = {}
    for power in POWERS:
        weights = step_weights(evaluations.sigmas, power, kind)
        programs[power] = solve(segment_costs(errors, weights), ks, times)
        surrogate = Memo(Surrogate(recorded, weights))
        for k in ks:
            found[k] += [programs[power][k], hill_climb(surrogate.mean_cost, programs[power][k])]
    return {"uniform": even, "dp": programs[DP_POWER], "recorded": {k: race(found[k], memo) for k in ks}}


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square difference as a share of b's deviation; infinite for other shapes."""
    return float((a - b).square().mean().sqrt() / b.std()) if a.shape == b.shape else float("inf")


def _check(given: torch.Tensor, made: torch.Tensor, index: int) -> None:
    if given.shape != made.shape:
        raise WorkflowError(f"reference {index} has the size {list(given.shape[1:])} and this workflow makes "
                            f"{list(made.shape[1:])}; connect the uncached outputs of this very workflow.")
    difference = _difference(given, made)
    if not difference <= SAME_OUTPUT:
        raise WorkflowError(f"reference {index} is not what this workflow makes without a cache (it differs by "
                            f"{difference:.0%}); connect its uncached outputs, or none.")
