"""A training from uncached outputs to the policy with its held-out table."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import torch

from ... import caching
from ...caching import mechanisms
from ...caching.evaluations import Evaluations
from ...caching.feature_kind import feature_kind
from ...caching.workflow import Sample, Workflow
from ...policies.defaults import has_own_rules
from ...policies.learning.checkpoint import Checkpoint
from ...policies.learning.elites import mean_gain
from ...policies.learning.search import LearnConfig, Learned, learn
from ...policies.policy import from_schedules
from ...policies.policy_fields import is_gram
from ...policies.policy_file import About, PolicyFile
from ...policies.schedule import from_indices, with_starts
from ...policies.uniform import uniform
from .cluster import Cluster
from .contest import Contest
from .mechanism_race import CANDIDATES, label
from .objective import Objectives
from .references import SAME_OUTPUT, References, relative_difference
from .request import Entry, Outcome, Progress, Request
from .rollouts import PREFIX_CACHE_BYTES, FewerSteps
from .samples import held_out_samples, training_samples
from .setup import Setup


def train(workflow: Workflow, request: Request, objectives: Objectives, checkpoint: Checkpoint, about: About,
          given: torch.Tensor | None = None, progress: Progress | None = None,
          notes: list[caching.Reason] | None = None, cluster: Cluster | None = None) -> Outcome:
    """Train on some samples and choose on held-out ones. Deterministic, unless time runs out.

    Args:
        about: metadata of the policy file; what only training knows is filled in.
        given: existing uncached outputs, in the order of the training samples; they are checked.
        notes: for the artist, such as the checkpoint's; more are appended.
        cluster: of workers that hold the same training; the policy is the same without.

    Raises:
        WorkflowError: this workflow can't be trained on, or the given outputs are not of it.
    """
    prefix_cache = caching.PrefixCache(PREFIX_CACHE_BYTES)
    try:
        setup = Setup(workflow, request, objectives, checkpoint, progress or Progress(),
                      [] if notes is None else notes, prefix_cache, time.monotonic(), cluster)
        return _train(setup, about, given)
    finally:
        prefix_cache.clear()


def _train(setup: Setup, about: About, given: torch.Tensor | None) -> Outcome:
    workflow, request, objectives = setup.workflow, setup.request, setup.objectives
    first = setup.using(CANDIDATES[0]) if request.mechanism == caching.AUTO else setup  # all have the same features
    evaluations = workflow.dry_run()
    n = len(evaluations)
    samples = training_samples(workflow, request)
    probe = _probe(first, evaluations, samples.of(workflow))
    ks = request.computed(n, probe.report.cached_cost)
    kind = feature_kind(evaluations, first.mechanism(evaluations), probe.report.cache_point)
    uncached = setup.references("reference", samples, objectives.learn, kind, given)
    held_out = setup.references("held-out", held_out_samples(workflow, request), objectives.choose, kind)
    if probe.report.cache_point == "output" and is_gram(uncached.gram, n) and not evaluations.starts:
        setup = replace(setup, gram=uncached.gram)

    own_rules = has_own_rules(evaluations.multistep, about.cfg)
    taken = probe.evaluations + uncached.evaluations + held_out.evaluations
    contest = Contest(setup, ks, evaluations, probe.shares, uncached, held_out, kind, own_rules, taken)
    learned = _search(contest)
    table = _with_fewer_steps(setup, learned, n, held_out)

    if setup.prefix_cache.recomputed:
        setup.notes.append(caching.Reason("recomputed", {
            "count": f"{setup.prefix_cache.recomputed:,}", "gigabytes": PREFIX_CACHE_BYTES >> 30}))
    spent = {"uncached": uncached.evaluations + held_out.evaluations,
             "rollouts": probe.evaluations + learned.evaluations,
             "held out": learned.held_out_evaluations + contest.held_out_memo.samples * sum(table)}
    if sum(spent.values()) > request.evaluations:
        setup.notes.append(caching.Reason("over_limit", {
            "taken": f"{sum(spent.values()):,}", "limit": f"{request.evaluations:,}"}))
    entries = {k: contest.mechanism(k, winner) for k, winner in sorted(learned.winners.items())}
    file = PolicyFile(
        from_schedules(learned.schedules, learned.policy),
        _about(setup, about, probe.report, sum(spent.values()), contest, entries), table,
        setup.gram if any(mechanisms.class_of(mechanism).needs_gram for mechanism, _ in entries.values()) else None,
        entries if len(set(entries.values())) > 1 else {})
    return Outcome(file, learned, contest.starts, table, entries, n, probe.report.cache_point, probe.report.cached_cost,
                   spent, contest.shared, setup.notes)


@dataclass(frozen=True)
class _Probe:
    """How the engine caches the workflow, whether rollouts may share prefixes, and the evaluations of the probe."""

    report: caching.Report
    shares: bool
    evaluations: int


def _probe(setup: Setup, evaluations: Evaluations, samples: list[Sample]) -> _Probe:
    """Probe the workflow with one or three cached runs.

    The first is compared with the checkpoint's, because the fingerprint does not cover everything that other nodes put
    on a model. Rollouts must not share prefixes if other nodes make an evaluation depend on earlier ones; this is tried
    once and stored in the checkpoint, because the counts of evaluations depend on it.
    """
    n = len(evaluations)
    rollouts = partial(setup.rollouts_of, evaluations, samples, setup.objectives.learn, [])
    schedule = uniform(n, max(1, n // 4))
    prefix = from_indices(schedule.indices[: max(1, schedule.k // 2)], n)
    whole = rollouts(shares=False)
    latent = whole.run(schedule, 0)
    stored = setup.checkpoint.tensors("probe") or {}
    if stored and not ("latent" in stored and relative_difference(stored["latent"], latent) <= SAME_OUTPUT):
        setup.checkpoint.clear("checkpoint_foreign")
        stored = {}
    if "shares" not in stored:
        sharing = rollouts(shares=True)
        sharing.run(prefix, 0)
        stored = {"latent": latent, "shares": torch.tensor(torch.equal(sharing.run(schedule, 0), latent))}
        setup.checkpoint.store("probe", stored)
    shares = bool(stored["shares"])
    return _Probe(whole.report, shares, 2 * schedule.k + (0 if shares else prefix.k))


def _search(contest: Contest) -> Learned:
    """Race, and learn with what is left of the evaluations."""
    setup, n, taken = contest.setup, len(contest.evaluations), contest.taken
    progress = setup.progress
    curve: list[tuple[int, float]] = []

    def on_rollout(evaluations: int, gains: dict[int, float]) -> None:
        gain = mean_gain(gains)
        if not curve or gain > curve[-1][1]:
            curve.append((taken + evaluations, gain))
        progress.on_rollout(taken + evaluations, gains, curve, n)

    progress.phase("mechanisms", 1, 1)
    memo = contest.memo
    progress.phase("starts", 1, 1)
    starts, contenders = contest.starts, contest.contenders
    progress.phase("search", 1, 1)
    config = LearnConfig(evaluations=contest.left, seed=setup.workflow.seed % 2**31)
    with torch.inference_mode(False), torch.enable_grad():  # ComfyUI runs nodes without gradients
        learned = learn(memo, contest.held_out_memo, starts, config, setup.should_stop, on_rollout, contenders)
    made = {k: with_starts(schedule, contest.evaluations.starts) for k, schedule in learned.schedules.items()}
    return replace(learned, schedules=made)


def _with_fewer_steps(setup: Setup, learned: Learned, n: int, held_out: References) -> dict[int, dict[str, float]]:
    """{k: {name: mean held-out cost}}: the validation, fewer steps, and the winner as "policy"."""
    setup.progress.phase("fewer steps", 1, 1)
    objective = setup.objectives.choose
    fewer_steps = FewerSteps(setup.workflow, n, held_out.samples.of(setup.workflow), held_out.decoded, objective)
    memo = setup.memo("fewer-steps", fewer_steps, held_out, "choose")
    memo.prefetch((uniform(n, k), i) for k in learned.validation for i in range(memo.samples))
    return {k: row | {"fewer steps": memo.mean_cost(uniform(n, k)), "policy": row[learned.winners[k]]}
            for k, row in learned.validation.items()}


def _about(setup: Setup, about: About, report: caching.Report, evaluations: int, contest: Contest,
           entries: dict[int, Entry]) -> About:
    request, prompts = setup.request, len(setup.workflow.guiders)
    training = {
        "learned by": setup.objectives.learn.name, "samples": request.samples * prompts, "prompts": prompts,
        "held-out samples": request.held_out, "evaluations": evaluations,
        "seconds": round(time.monotonic() - setup.started, 1)}
    if request.mechanism == caching.AUTO and not request.quick:
        training["mechanisms tried"] = ", ".join(
            label(*entry) for entry in CANDIDATES if entry in contest.candidates)
    mechanism, order = list(entries.values())[len(entries) // 2]
    return replace(
        about, mechanism=mechanism, cache_point=report.cache_point, reward=setup.objectives.choose.name,
        mechanism_options={"order": order} if mechanisms.has_order(mechanism) else {}, training=training)
