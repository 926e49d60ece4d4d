"""Plain values that the host's own nodes make of plain values, for the plan of a run that has not begun."""

from __future__ import annotations

import nodes
import pytest
from comfy_api.latest import io

from recache.nodes.server.values import evaluate


def made(kind: str, output: int = 0, **inputs):
    return {"type": kind, "inputs": inputs, "output": output}


@pytest.fixture(autouse=True)
def extra_nodes(monkeypatch):
    """The host's nodes, which only a server registers."""
    for name in ("primitive", "logic", "math", "number_convert", "string"):
        for node in vars(pytest.importorskip(f"comfy_extras.nodes_{name}")).values():
            if isinstance(node, type) and issubclass(node, io.ComfyNode) and node is not io.ComfyNode:
                monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, node.define_schema().node_id, node)


SIX = made("PrimitiveInt", value=6, fixed="fixed")  # "fixed" is a widget of the page only
TEXT = made("JsonExtractString", json_string='{"steps": "12"}', key="steps")


@pytest.mark.parametrize("tree, value", [
    (7, 7), (SIX, 6), (made("ComfyNumberConvert", 1, value=TEXT), 12),
    (made("ComfySwitchNode", switch=True, on_true=SIX, on_false=made("LoadImage")), 6),
    (made("ComfyMathExpression", 1, **{"expression": "a * 2 + b", "values.a": SIX, "values.b": 1}), 13),
    (made("CustomCombo", choice="fast", index=2, option1="slow"), "fast"),
])
def test_values_are_those_of_the_hosts_nodes(tree, value):
    assert evaluate(tree) == value


@pytest.mark.parametrize("tree", [
    made("LoadImage", image="a.png"), made("NoSuchNode"), made("PrimitiveInt"), made("PrimitiveInt", 3, value=6),
    {"type": "PrimitiveInt", "inputs": {"value": 6}}, made("PrimitiveInt", True, value=6),
    made("ComfyMathExpression", **{"values": 3, "values.a": 1, "expression": "a"}),
    *(made("ComfyMathExpression", **{"values.a": 1, "expression": expression}) for expression in (
        "9 ** 9 ** 9 ** 9", "3000000 ** 3000000", "pow(pow(9, 4000), 4000)", "round(5, -30000000)", "(" * 500)),
    made("StringReplace", string="a" * 500, find="a", replace="b" * 500),
])
def test_what_cannot_be_told_is_none(tree):
    assert evaluate(tree) is None
