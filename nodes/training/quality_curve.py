"""Quality and time of an artist's own workflow at several budgets, measured against its uncached run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median

import comfy.model_management
import torch

from ... import caching
from ...caching.workflow import Sample, Workflow, WorkflowError
from ...policies.budget import computed_for_budget, knee
from ...policies.metrics.metric import Figures, Metric, figures, mean, perceptual
from ..library.resolve import PolicyChoice
from ..server.wording import text
from .objective import Objective, metric_notes


@dataclass(frozen=True)
class Point:
    """A point of the curve: the measurements of one Variant.

    Attributes:
        computed: evaluations of the network in a run.
        seconds: duration of the sampler in a run; the median over the samples.
        figures: the mean over the samples (and frames).
        picture: of the first sample, [height, width, 3] (a video's middle frame); None without a VAE.
    """

    computed: int
    seconds: float
    figures: Figures
    picture: torch.Tensor | None = field(repr=False)


@dataclass(frozen=True)
class Curve:
    """The quality/time curve.

    Attributes:
        evaluations: of the uncached run.
        cached: {budget: point}, by rising budget.
        fewer: {budget: point} of uncached runs with equally many evaluations; empty if they were not measured.
        knee: the budget at the knee (see policies.budget.knee), or None if the curve has none.
        metric: of the figures.
        report: of the engine's last run.
        notes: for the artist.
    """

    evaluations: int
    uncached: Point
    cached: dict[float, Point]
    fewer: dict[float, Point]
    knee: float | None
    metric: Metric
    report: caching.Report
    notes: list[caching.Reason]

    def speedup(self, point: Point) -> float:
        """Speed-up over the uncached run."""
        return self.uncached.seconds / point.seconds


@dataclass
class Variant:
    """One way to make the pictures, and its measurements, one for each sample.

    Attributes:
        name: shown to artists.
        cost: approximate duration of a run, as a share of the uncached one.
        run: sample -> (latent, computed evaluations).
    """

    name: str
    cost: float
    run: Callable[[Sample], tuple[torch.Tensor, int]]
    computed: int = 0
    seconds: list[float] = field(default_factory=list)
    latents: list[torch.Tensor] = field(default_factory=list)


class Runs:
    """Cached runs of a workflow, at any budget.

    Attributes:
        report: the engine's report of the last one.
    """

    def __init__(self, workflow: Workflow, choice: PolicyChoice):
        self.report: caching.Report | None = None
        self._workflow, self._choice = workflow, choice
        target = choice.target
        self._config = caching.CacheConfig(
            mechanism=target.mechanism, order=target.order, cache_point=target.cache_point, published=self._note,
            for_run=lambda config, run: self._choice.for_run(config, run))

    def _note(self, report: caching.Report) -> None:
        self.report = report

    def run(self, sample: Sample, budget: float) -> tuple[torch.Tensor, int]:
        """The latent of one run, and the number of computed evaluations.

        Raises:
            WorkflowError: nothing could be cached.
        """
        self._choice = replace(self._choice, target=replace(self._choice.target, budget=budget))
        latent = self._workflow.cached(sample, self._config)
        if not self.report.planned:
            nothing = caching.Reason("nothing_cached", {"budget": budget})
            raise WorkflowError("nothing cached", nothing, *self.report.notes)
        return latent, len(self.report.computed)


def measured(workflow: Workflow, runs: Runs, budgets: Sequence[float], count: int, fewer_steps: bool, vae=None,
             progress: Callable[[str, float], None] = lambda doing, share: None, language: str = "en") -> Curve:
    """The curve of `budgets`, in any order. Runs one sample at a time, and keeps its latents in main memory.

    Args:
        count: samples, 1 or more. fewer_steps: whether to run fewer uncached steps too.
        vae: to compare pictures; None compares latents.
        progress: called at every step with what is being done, in the language, and the share done, 0..1.

    Raises:
        ValueError: it can't be measured; one sentence for the artist.
    """
    n, budgets = len(workflow.dry_run()), sorted(set(budgets))
    samples = workflow.samples(count, workflow.seed)

    def uncached(share: float) -> Callable[[Sample], tuple[torch.Tensor, int]]:
        return lambda sample: (workflow.uncached(sample, share), round(share * n))

    # Warm up both kinds of run before any is timed: a first run may compile. The cached one also gives the cost of a
    # cached evaluation, and so which budgets differ.
    say = partial(text, language=language)
    warm_up = [Variant(say("frontier.doing_warm_up"), 1 / n, uncached(1 / n)),
               Variant(say("frontier.doing_warm_up"), budgets[0], lambda sample: runs.run(sample, budgets[0]))]
    _run(warm_up, samples[:1], workflow, lambda doing, share: progress(doing, 0.0), language)
    ks, notes = _distinct(budgets, n, runs.report.cached_cost)
    full = Variant(say("frontier.doing_uncached"), 1.0, uncached(1.0))
    cached = [Variant(say("frontier.doing_budget", budget=f"{b:g}"), b, lambda sample, b=b: runs.run(sample, b))
              for b in ks]
    fewer = [Variant(say("frontier.doing_fewer", k=k, n=n), k / n, uncached(k / n)) for k in ks.values() if fewer_steps]
    _run([full, *cached, *fewer], samples, workflow, progress, language)
    objective = Objective() if vae is None else Objective(perceptual(), vae, workflow.pictures)
    measuring = say("frontier.doing_measure", metric=objective.name)
    best, *points = _points(full, [*cached, *fewer], objective, lambda: progress(measuring, 1.0))
    by_budget, fewer_by_budget = dict(zip(ks, points)), dict(zip(ks, points[len(ks):]))
    worse = [b for b, p in fewer_by_budget.items() if p.figures.difference < by_budget[b].figures.difference]
    if worse:
        notes.append(caching.Reason("fewer_steps_closer", {"budgets": ", ".join(f"{b:g}" for b in worse)}))
    return Curve(n, best, by_budget, fewer_by_budget, _knee(by_budget, n), objective.metric, runs.report,
                 [*notes, *runs.report.notes, *metric_notes(objective.metric)])


def _distinct(budgets: Sequence[float], n: int, cached_cost: float) -> tuple[dict[float, int], list[caching.Reason]]:
    """{budget: k} of the ascending budgets without those of the same k as a lower one; and notes on these."""
    ks: dict[float, int] = {}
    notes = []
    for budget in budgets:
        k = computed_for_budget(budget, n, cached_cost)
        if k in ks.values():
            notes.append(caching.Reason("budget_same", {"budget": f"{budget:g}", "computed": k, "evaluations": n}))
        else:
            ks[budget] = k
    return ks, notes


def _knee(cached: dict[float, Point], n: int) -> float | None:
    """The budget at the knee. Costs are counted and not timed, so that the same seed gives the same knee."""
    place = knee([*(p.computed for p in cached.values()), n], [*(p.figures.difference for p in cached.values()), 0.0])
    return None if place is None else list(cached)[place]


def _run(variants: Sequence[Variant], samples: Sequence[Sample], workflow: Workflow,
         progress: Callable[[str, float], None], language: str) -> None:
    """Run every variant on every sample."""
    total, done = len(samples) * sum(variant.cost for variant in variants), 0.0
    for i, sample in enumerate(samples):
        for variant in variants:
            name = variant.name if len(samples) == 1 else text(
                "frontier.doing_seed", language, doing=variant.name, i=i + 1, count=len(samples))
            progress(name, done / total)
            workflow.stepped = lambda step, name=name, cost=variant.cost, before=done: progress(
                name, (before + step * cost) / total)
            latent, variant.computed = variant.run(sample)
            done += variant.cost
            if not torch.isfinite(latent).all():
                raise WorkflowError(f"the run '{name}' ended in NaN; look at the model and its precision.")
            variant.latents.append(latent)
            variant.seconds.append(workflow.seconds)


def _points(full: Variant, others: Sequence[Variant], objective: Objective, progress: Callable[[], None],
            ) -> list[Point]:
    """The points of the variants, `full` first; two decoded outputs are in memory at a time."""
    variants = [full, *others]
    found: dict[str, list[Figures]] = {variant.name: [] for variant in variants}
    pictures: dict[str, torch.Tensor] = {}
    device = comfy.model_management.get_torch_device() if objective.metric.of_pictures else "cpu"
    for i in range(len(full.latents)):
        reference = _frames(objective, full.latents[i])
        for variant in variants:
            progress()
            decoded = reference if variant is full else _frames(objective, variant.latents[i])
            found[variant.name] += figures(objective.metric, decoded, reference, device)
            if objective.metric.of_pictures:
                pictures.setdefault(variant.name, decoded[len(decoded) // 2].clone())
    return [
        Point(variant.computed, median(variant.seconds), mean(found[variant.name]), pictures.get(variant.name))
        for variant in variants]


def _frames(objective: Objective, latent: torch.Tensor) -> torch.Tensor:
    """What is compared: the latent, or its pictures [frames, height, width, 3]."""
    decoded = objective.decode(latent)
    return decoded.flatten(0, -4) if objective.metric.of_pictures else decoded
