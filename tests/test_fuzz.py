"""Some hundreds of hostile policies and requests; `nox -s fuzz` sends them for minutes."""

from __future__ import annotations

import importlib
import json
import re
import time

import pytest

from recache.nodes.server import plan, planned_run, prompt_info, routes
from tests.hosting.server import emptied
from tests.hosting.session import ROOT
from tests.reliability.fuzz import cases, fuzz
from tests.reliability.hostile_requests import JSON, ROUTES, Target

ROUTE = re.compile(r'add_route\("(\w+)", (\w+), ')


@pytest.fixture(scope="module")
def target(server):
    with emptied(server.models / "recache"):
        yield Target(server)


def check(name: str, count: int, target: Target | None) -> None:
    """So many cases do no harm."""
    case, _ = cases(name, target)
    found = fuzz(case, time.process_time, name, goes_on=lambda found: found.cases < count)
    assert found.failures == [] and found.cases == count and len(found.outcomes) >= 2


def test_no_hostile_policy_does_harm():
    check("policies", 150, None)


@pytest.mark.parametrize("name, count", [("embedded", 60), ("routes", 150)])
def test_no_hostile_request_does_harm(name, count, target):
    before = target.server.log().count("Traceback")  # old hosts lack packages for nodes of their own
    check(name, count, target)
    assert target.server.log().count("Traceback") == before


def test_every_route_is_asked():
    added = set()
    for path in (ROOT / "nodes").rglob("*.py"):
        for method, constant in ROUTE.findall(path.read_text(encoding="utf-8")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            added.add((method, getattr(importlib.import_module(f"recache.{module}"), constant)))
    assert added == set(ROUTES)


@pytest.mark.parametrize("path", [path for method, path in ROUTES if method == "POST"])
def test_only_json_of_a_bounded_length_is_read(path, target):
    assert target.ask("POST", path, b"{}", {"Content-Type": "text/plain"})[0] == 415
    assert target.ask("POST", path, b'"' + b"x" * 2**20 + b'"', JSON)[0] in (0, 413)
    assert target.ask("POST", path, b"[" * 1000, JSON)[0] in (400, 413)


def test_a_chain_of_nodes_that_multiply_noise_levels_is_not_run(target):
    sigmas = {"type": "ManualSigmas", "inputs": {"sigmas": "1, 0.5, 0"}}
    for _ in range(8):
        sigmas = {"type": "ExtendIntermediateSigmas", "inputs": {
            "sigmas": sigmas, "steps": 100, "start_at_sigma": -1.0, "end_at_sigma": 0.0, "spacing": "linear"}}
    told = _plan(target, sigmas)
    assert told["n"] == 0 and told["refusal"] is None


def test_a_slow_dry_run_leaves_the_plan_open(monkeypatch):
    monkeypatch.setattr(planned_run, "MAX_SECONDS", 0.0)
    sampler = b'{"type": "KSampler", "inputs": {"steps": 1234, "sampler_name": "euler", "scheduler": "simple"}}'
    told = plan.plan(routes.parse(b'{"settings": {}, "sampler": ' + sampler + b"}"))
    assert told.n == 0 and told.refusal is None


def _plan(target: Target, sigmas: dict) -> dict:
    sampler = {"type": "SamplerCustom", "inputs": {
        "sampler": {"type": "KSamplerSelect", "inputs": {"sampler_name": "euler"}}, "sigmas": sigmas}}
    return json.loads(target.ask("POST", "/recache/plan", json.dumps(
        {"settings": {}, "sampler": sampler}).encode(), JSON)[1])


def test_a_subgraph_that_holds_itself_is_left():
    node = {"id": 1, "type": "self", "properties": {"a": 1}}
    graph = {"id": "self", "nodes": [node]}
    workflow = {"nodes": [node], "definitions": {"subgraphs": [graph]}}
    graph["nodes"].append(graph)
    assert prompt_info.properties_of({"workflow": workflow}, ":".join("1" * 1000)) == {"a": 1}
