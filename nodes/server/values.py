"""Plain values that ComfyUI's own nodes make of plain values, such as a number of steps that a switch chooses.

The page describes them as the trees of `graph`, with the number of the node's output under "output".
"""

from __future__ import annotations

import inspect
import logging
from typing import Any

import nodes

log = logging.getLogger(__name__)

# Their results depend on nothing but their inputs, and take no time.
NODES = (
    "PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString", "PrimitiveStringMultiline", "CustomCombo",
    "ComfySwitchNode", "ComfyNumberConvert", "ComfyMathExpression", "StringConcatenate", "StringReplace",
    "JsonExtractString")
MAX_TEXT = 10_000


def evaluate(value: Any) -> Any:
    """A plain value as it is, and what a tree of `NODES` makes; None where that can't be told."""
    if not isinstance(value, dict):
        return value
    node = nodes.NODE_CLASS_MAPPINGS.get(value["type"]) if value["type"] in NODES else None
    output = value.get("output")
    if node is None or type(output) is not int or not 0 <= output < len(node.RETURN_TYPES):
        return None
    try:
        result = node.execute(**_arguments(node, value["inputs"]))
    except Exception:  # a node's own complaint about its values
        log.debug("ReCache: %s made no value.", value["type"], exc_info=True)
        return None
    made = getattr(result, "result", result)[output]
    if isinstance(made, str):
        return made if len(made) <= MAX_TEXT else None
    return made if isinstance(made, (bool, int, float)) else None


def _arguments(node: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, given in inputs.items():
        group, _, member = name.partition(".")  # "values.a" is a member of the input "values"
        (arguments.setdefault(group, {}) if member else arguments)[member or name] = evaluate(given)
    taken = inspect.signature(node.execute).parameters
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return arguments
    return {name: given for name, given in arguments.items() if name in taken}  # without the page's own widgets
