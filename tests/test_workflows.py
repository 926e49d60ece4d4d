"""The workflows that ship: every node is known to a stock host with the pack, and ReCache is in the right place."""

from __future__ import annotations

import json

import pytest

from tests.hosting.session import ROOT

WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
NOTES = {"Note", "MarkdownNote"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_node_is_known_and_the_budget_feeds_the_sampler(path, client):
    known = client.object_info()
    graph = json.loads(path.read_text(encoding="utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert {node["type"] for node in nodes.values()} - NOTES <= set(known)
    models = [(nodes[link[1]]["type"], nodes[link[3]]["type"]) for link in graph["links"] if link[5] == "MODEL"]
    assert ("ReCacheBudget", "KSampler") in models
    assert {source for source, target in models if target == "KSampler"} == {"ReCacheBudget"}
    assert any(node["type"] in NOTES for node in nodes.values())


def test_there_are_workflows():
    assert WORKFLOWS
