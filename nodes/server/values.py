"""Plain values that ComfyUI's own nodes compute from plain values, such as a number of steps behind a switch.

The page describes them by trees as in `graph`, with the index of the node's output under "output".
"""

from __future__ import annotations

import ast
import inspect
import logging
from typing import Any

import nodes

log = logging.getLogger(__name__)

# Pure functions of their inputs that take no time.
NODES = (
    "PrimitiveInt", "PrimitiveFloat", "PrimitiveBoolean", "PrimitiveString", "PrimitiveStringMultiline", "CustomCombo",
    "ComfySwitchNode", "ComfyNumberConvert", "ComfyMathExpression", "StringConcatenate", "StringReplace",
    "JsonExtractString")
MAX_TEXT = 10_000


def evaluate(value: Any) -> Any:
    """The value of a plain value or of a tree of `NODES`; None if it can't be computed."""
    if not isinstance(value, dict):
        return value
    node = nodes.NODE_CLASS_MAPPINGS.get(value["type"]) if value["type"] in NODES else None
    output = value.get("output")
    if node is None or type(output) is not int or not 0 <= output < len(node.RETURN_TYPES):
        return None
    try:
        arguments = _arguments(node, value["inputs"])
        if not _is_quick(arguments.get("expression", "0")):
            return None
        result = node.execute(**arguments)
    except Exception:  # a node's own complaint about its values
        log.debug("ReCache: %s made no value.", value["type"], exc_info=True)
        return None
    made = getattr(result, "result", result)[output]
    if isinstance(made, str):
        return made if len(made) <= MAX_TEXT else None
    return made if isinstance(made, (bool, int, float)) else None


def _is_quick(expression: str) -> bool:
    """Whether a mathematical expression has no operation that can make a number of millions of digits."""
    for node in ast.walk(ast.parse(expression.strip(), mode="eval")):
        if isinstance(node, (ast.Pow, ast.LShift)):
            return False
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("pow", "round") and len(node.args) != 1:
            return False
    return True


def _arguments(node: Any, inputs: dict[str, Any]) -> dict[str, Any]:
    arguments: dict[str, Any] = {}
    for name, given in inputs.items():
        group, _, member = name.partition(".")  # "values.a" is a member of the input "values"
        (arguments.setdefault(group, {}) if member else arguments)[member or name] = evaluate(given)
    taken = inspect.signature(node.execute).parameters
    if any(one.kind is one.VAR_KEYWORD for one in taken.values()):
        return arguments
    return {name: given for name, given in arguments.items() if name in taken}  # drops widgets that only the page has
