"""The plan of a run that has not begun: which evaluations a Budget node would compute."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...caching import Reason, model_identity
from ...caching.dry_run import Evaluations, dry_run_without_rng
from ...caching.mechanisms import make
from ...policies.budget import planned_speedup
from ...policies.policy_file import PolicyFile
from ...policies.schedule import explicit
from ..library import resolve
from . import graph, run_state

KEPT = 64
SAME_TIME = 1e-3


@dataclass(frozen=True)
class Question:
    """What the page asks: the settings of one Budget node, and the sampler that its model goes to.

    Attributes:
        workflow, node: whose it is, as the page and the server know them.
        trained: a policy from ReCache Train is connected.
        sampler: see wiring; None where there is none.
        unknown: names of settings that come from a node whose value the page can't tell.
        language: that the page is in, such as "en".
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
    unknown: tuple[str, ...]
    language: str = ""


@dataclass(frozen=True)
class _Foreseen:
    evaluations: Evaluations
    layout: str | None  # of the model, where it is known
    guessed: bool = False  # see graph.Sampling


_foreseen: OrderedDict[tuple, _Foreseen] = OrderedDict()


def listed(text: str) -> Callable[..., tuple[bool, ...]]:
    """The schedule that an artist wrote down, for the engine."""
    return lambda times, cached_cost: explicit(text, len(times)).computed


def scheduler(budget: float, policy: str, evaluations: str, file: PolicyFile | None) -> Callable[..., tuple[bool, ...]]:
    """The schedule of a Budget node's settings, for the engine.

    Raises:
        ScheduleError: a list of evaluations that is none.
    """
    if file is not None:
        return resolve.budget_schedule(budget, resolve.by_policy(file.policy))
    if policy == "list":
        explicit(evaluations, 100_000)  # nonsense is refused before anything is loaded
        return listed(evaluations)
    return resolve.budget_schedule(budget, resolve.evenly)


def plan(question: Question) -> dict[str, Any]:
    """What the page shows, ready for JSON.

    ``n``, ``computed`` (0-based) and ``speedup`` of the plan; ``provisional``: what is not known before a run, of
    "model", "cost", "trained", "sampler" and "input"; ``policy``: its ``kind`` ("file", "list" or "uniform") and of a
    file ``name``, ``carried`` and ``tested``; ``missing``: a Reason if it is not there; ``run``: the last run
    with this plan, or the one that is sampling; ``refusal``: why nothing would be cached, a Reason or the
    words of an error. Without a sampler there is no ``n``.
    """
    known = run_state.known(question.workflow, question.node)
    provisional = ["input"] if question.unknown else []
    sampling = next((run for run in known.runs if not run.over), None) if known else None
    answer: dict[str, Any] = {"provisional": provisional, "refusal": None, "run": sampling and sampling.shown()}
    foreseen = _sampling(question, known, provisional)
    if foreseen is None:
        return answer
    evaluations = foreseen.evaluations
    try:
        file, missing = _file(question, known, foreseen.layout, provisional)
        answer["missing"] = missing and missing.as_json()
        answer["policy"] = _about(question, file, evaluations)
        if evaluations.refusal is not None:
            return answer | {"refusal": evaluations.refusal.as_json()}
        cost = _cost(question, known)
        if cost is None:
            provisional.append("cost")
        schedule = scheduler(question.budget, question.policy, question.evaluations, file)(
            evaluations.times, cost or 0.0)
    except ValueError as error:
        return answer | {"refusal": str(error)}
    computed = [i for i, is_computed in enumerate(schedule) if is_computed]
    if not sampling and known:
        same = (run for run in known.runs if run.over and run.mechanism == question.mechanism
                and run.planned in (None, computed) and _alike(run.times, evaluations.times))
        answer["run"] = next((run.shown() for run in same), None)
    return answer | {
        "n": len(schedule), "computed": computed, "speedup": planned_speedup(len(computed), len(schedule), cost or 0.0)}


def _sampling(question: Question, known: run_state.Known | None, provisional: list[str]) -> _Foreseen | None:
    """The evaluations of the run, and the model's layout where it is known."""
    foreseen = None
    if question.sampler is not None:
        key = (json.dumps(question.sampler, sort_keys=True), known and id(known.model_sampling))
        foreseen = _foreseen.get(key)
        if foreseen is None:
            foreseen = _foresee(question.sampler, known)
            _foreseen[key] = foreseen
            while len(_foreseen) > KEPT:
                _foreseen.popitem(last=False)
    if foreseen is None or (foreseen.evaluations.refusal is None and not foreseen.evaluations.times):
        last = next((run for run in known.runs if run.times), None) if known else None
        if last is None:
            return None
        provisional.append("sampler")
        return _Foreseen(Evaluations(last.times, last.times), known.layout)
    if foreseen.layout is None:
        provisional.append("model")
    if foreseen.guessed and not question.unknown:
        provisional.append("input")
    return foreseen


def _foresee(sampler: dict, known: run_state.Known | None) -> _Foreseen | None:
    try:
        found = graph.sampling(sampler, known and graph.stand_in(known.model_sampling))
    except graph.Unknown:
        return None
    schedule = found.model.get_model_object("model_sampling")
    if found.known:
        layout = model_identity.layout(found.model.model.diffusion_model)
    else:
        layout = known.layout if known else None
    return _Foreseen(dry_run_without_rng(found.sampler, found.sigmas, schedule), layout, found.guessed)


def _file(question: Question, known: run_state.Known | None, layout: str | None,
          provisional: list[str]) -> tuple[PolicyFile | None, Reason | None]:
    if not question.trained:
        return resolve.resolve_policy(question.policy, layout, question.mechanism, question.order, question.cache_point)
    if known is None or known.file is None:
        provisional.append("trained")
        return None, None
    return known.file, None


def _about(question: Question, file: PolicyFile | None, evaluations: Evaluations) -> dict[str, Any]:
    if file is None:
        return {"kind": "list" if question.policy == "list" and not question.trained else "uniform"}
    times = evaluations.times
    alike = len(times) == file.policy.n and all(abs(a - b) < 0.01 for a, b in zip(times, file.policy.times))
    expected = file.expected(question.budget)
    tested = None
    if expected is not None:
        k, distance, uniform = expected
        tested = {"k": k, "n": file.policy.n, "less": 1.0 - distance / uniform, "measure": file.about.reward}
    return {"kind": "file", "name": file.about.name, "carried": not alike, "tested": tested}


def _cost(question: Question, known: run_state.Known | None) -> float | None:
    """What a cached evaluation is charged; None where only a run can tell."""
    point = question.cache_point
    if point == "output" or (point == "auto" and not make(question.mechanism, question.order).of_residual):
        return 0.0
    return known.cost(question.mechanism, point) if known else None


def _alike(times, others) -> bool:
    return len(times) == len(others) and all(abs(a - b) < SAME_TIME for a, b in zip(times, others))
