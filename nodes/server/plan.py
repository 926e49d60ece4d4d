"""The plan of a run before it begins: which evaluations a Budget node would compute."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from ...caching import Reason, RunSettings, host_check
from ...caching.evaluations import Evaluations
from ...caching.mechanisms import class_of
from ...policies.budget import budget_for, planned_speedup
from ...policies.expected_quality import presets
from ...policies.policy_file import PolicyFile
from ...policies.schedule import same_times
from ..library.ranking import Target
from ..library.resolve import PolicyChoice
from . import knees, run_state
from .planned_run import PlannedRun, planned_run


@dataclass(frozen=True)
class PlanRequest:
    """The page's request for a plan: the settings of one Budget node, and the sampler that its model goes to.

    Attributes:
        workflow, node: their ids, as the page and the server know them.
        trained: whether a policy from ReCache Train is connected.
        sampler: see graph; None if no sampler is connected.
        later: other samplers, for a node whose samplers share the budget.
        unknown: names of settings that come from another node and whose value the page does not know.
        language: of the page, such as "en".
    """

    workflow: str
    node: str
    budget: float
    policy: str
    evaluations: str
    mechanism: str
    order: int
    cache_point: str
    trained: bool
    sampler: dict | None
    later: tuple[dict, ...]
    unknown: tuple[str, ...]
    language: str = ""


@dataclass(frozen=True)
class PolicySummary:
    """The policy of a plan, for the page.

    Attributes:
        kind: "file", "list" or "uniform"; the others are of a file.
        carried: whether it was fitted on other evaluation times.
        tested: what it gave on held-out samples, {"k", "n", "less", "than", "measure"} (see HeldOut), or None.
    """

    kind: str
    name: str = ""
    carried: bool = False
    tested: dict[str, Any] | None = None


@dataclass
class PlanAnswer:
    """What the page shows before a run, and about the last one.

    Attributes:
        provisional: what is not known before a run, of "model", "cost", "trained", "sampler" and "input".
        run: the one that is sampling, else the last one with this plan.
        refusal: why nothing would be cached, a Reason or an error's message.
        missing: that the chosen policy is missing, or None.
        remark: see RunChoice.remark. quality: see RunChoice.expected_word.
        presets: {name: budget} to choose from (see expected_quality.presets), and the last frontier's "knee"; empty
            where a list takes its place.
        n: evaluations of the run; 0 if they are not known, and then there is no schedule.
        parts: evaluations of every sampler in it.
        computed: those that would be computed, 0-based.
        speedup: planned.
        seconds, seconds_uncached: that the sampler is expected to take, as in the last run of this size; else None.
    """

    provisional: list[str]
    run: run_state.Run | None = None
    refusal: Reason | str | None = None
    missing: Reason | None = None
    remark: Reason | None = None
    quality: str | None = None
    presets: dict[str, float] = field(default_factory=dict)
    policy: PolicySummary | None = None
    n: int = 0
    parts: tuple[int, ...] = ()
    computed: list[int] = field(default_factory=list)
    speedup: float = 1.0
    seconds: float | None = None
    seconds_uncached: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "provisional": self.provisional, "run": self.run and self.run.as_json(),
            "refusal": self.refusal.as_json() if isinstance(self.refusal, Reason) else self.refusal,
            "missing": self.missing and self.missing.as_json(),
            "remark": self.remark and self.remark.as_json(), "quality": self.quality,
            "presets": self.presets,
            "policy": self.policy and asdict(self.policy),
            "n": self.n, "parts": self.parts, "computed": self.computed,
            "speedup": self.speedup, "seconds": self.seconds, "seconds_uncached": self.seconds_uncached}


def plan(request: PlanRequest) -> PlanAnswer:
    """The plan, made by the functions that the run uses."""
    answer = PlanAnswer(["input"] if request.unknown else [], refusal=host_check.obstacle())
    if answer.refusal is not None:
        return answer
    history = run_state.history_of(request.workflow, request.node)
    planned = _planned_run(request, history, answer.provisional)
    if history and planned and planned.layout not in (None, history.layout):
        history = None  # of another model
    answer.run = history.sampling if history else None
    if planned is None:
        return answer
    evaluations = planned.evaluations
    try:
        choice = _policy_choice(request, history, planned, answer.provisional)
        run = _run_settings(history, planned)
        file, answer.missing = choice.resolve(run)
        answer.policy = _summary(request, file, evaluations)
        if evaluations.refusal is not None:
            answer.refusal = evaluations.refusal
            return answer
        decided = choice.choice(file, run)
        mechanism, _ = decided.mechanism_for(run.times)
        cost = _cached_cost(mechanism, request.cache_point, history)
        if cost is None:
            answer.provisional.append("cost")
        if decided.too_expensive(len(run.times), cost or 0.0):
            cost, answer.refusal = 0.0, _too_expensive(mechanism, cost)
        if answer.refusal is not None:
            return answer
        starts = tuple(accumulate(planned.parts))[:-1]
        schedule = decided.schedule(run.times, cost or 0.0, starts)
        answer.remark = decided.remark(run.times, cost or 0.0)
        answer.quality = decided.expected_word(run.times, sum(schedule))
    except ValueError as error:
        answer.refusal = str(error)
        return answer
    answer.n, answer.parts = len(schedule), planned.parts
    answer.computed = [i for i, computed in enumerate(schedule) if computed]
    if answer.policy.kind != "list":
        answer.presets = _presets(request, planned, answer.n, cost or 0.0)
    answer.speedup = planned_speedup(len(answer.computed), answer.n, cost or 0.0)
    if history:
        _tell_of_runs(answer, history, run, mechanism)
    return answer


def _tell_of_runs(answer: PlanAnswer, history: run_state.History, run: RunSettings, mechanism: str) -> None:
    """What the last runs tell of this one: how long it takes, and the last one with this plan."""
    seconds = history.seconds(run.cfg, run.size)
    if seconds is not None:
        answer.seconds_uncached = answer.n * seconds
        answer.seconds = answer.seconds_uncached / answer.speedup
    if answer.run is None:
        answer.run = history.last(mechanism, answer.computed, run.times, answer.parts)


def _too_expensive(mechanism: str, cost: float) -> Reason | None:
    """Why a run is uncached whose budget does not pay for its cached evaluations; None: it caches at the output."""
    if not class_of(mechanism).probes:
        return None
    too_expensive = Reason("cached_too_expensive", {"percent": round(100 * cost)})
    return Reason("dicache_needs_blocks", {"because": too_expensive})


def _presets(request: PlanRequest, planned: PlannedRun, n: int, cost: float) -> dict[str, float]:
    found = {name: budget_for(k, n, cost) for name, k in presets(n).items()}
    knee = knees.knee_of(request.workflow, planned.layout)
    return found if knee is None else found | {"knee": knee}


def _planned_run(request: PlanRequest, history: run_state.History | None, provisional: list[str]) -> PlannedRun | None:
    """The run as its sampler makes it, else as the last run was."""
    planned = planned_run(request.sampler, request.later, history) if request.sampler is not None else None
    if planned is None or (planned.evaluations.refusal is None and not planned.evaluations.times):
        last = next((run for run in history.runs if run.times), None) if history else None
        if last is None:
            return None
        provisional.append("sampler")
        return PlannedRun(Evaluations(last.times, last.times), history.layout, parts=last.parts)
    if planned.layout is None:
        provisional.append("model")
    if planned.guessed and not request.unknown:
        provisional.append("input")
    return planned


def _policy_choice(request: PlanRequest, history: run_state.History | None, planned: PlannedRun,
                   provisional: list[str]) -> PolicyChoice:
    trained = history.file if history and request.trained else None
    policy = request.policy
    if request.trained and trained is None:
        provisional.append("trained")
        policy = "uniform"  # whatever the node says, a connected policy is used
    target = Target(request.mechanism, request.order, request.cache_point, request.budget)
    return PolicyChoice(policy, planned.layout, target, request.evaluations, trained)


def _run_settings(history: run_state.History | None, planned: PlannedRun) -> RunSettings:
    """Settings of the run; those that the graph does not tell are the last run's."""
    last = next((run for run in history.runs if run.over), None) if history else None
    cfg = last.cfg if last and planned.cfg is None else planned.cfg
    size = last.size if last and not planned.size else planned.size
    return RunSettings(planned.sampler, planned.evaluations.times, cfg, size, planned.evaluations.multistep)


def _summary(request: PlanRequest, file: PolicyFile | None, evaluations: Evaluations) -> PolicySummary:
    if file is None:
        return PolicySummary("list" if request.policy == "list" and not request.trained else "uniform")
    expected, tested = file.expected(request.budget), None
    if expected is not None:
        tested = {"k": expected.k, "n": file.policy.n, "less": expected.gain, "than": expected.than,
                  "measure": file.about.reward}
    return PolicySummary("file", file.about.name, not same_times(evaluations.times, file.policy.times), tested)


def _cached_cost(mechanism: str, point: str, history: run_state.History | None) -> float | None:
    """Cost of a cached evaluation; None if it was not measured yet."""
    kind = class_of(mechanism)
    if point == "output" or kind.needs_gram:
        return 0.0
    measured = history.cached_cost(mechanism, point) if history else None
    at_output = point == "auto" and not kind.of_residual  # but for latents of several parts
    return 0.0 if measured is None and at_output else measured
