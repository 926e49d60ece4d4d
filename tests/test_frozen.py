"""What saved workflows hold on to: node ids, inputs in their order with types and defaults, and outputs.

A workflow stores a node's widget values by position and its links by name or position, so a change that looks harmless
puts old values into the wrong widgets without a word. ``frozen.txt`` is what was given out.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from tests.hosting.server import PACK

FROZEN = Path(__file__).with_name("frozen.txt")
ADVICE = """
Saved workflows rely on tests/frozen.txt. Do not rename, remove, reorder or retype what it lists, and do not change a
default: give the node another id, and keep the old one. A new node, a new output at the end, or a new optional input
after all others is safe; then add the line marked with + here to the file:
"""


def described(name: str, node: dict) -> list[str]:
    """A node of ``/object_info`` as lines: its id, then its inputs and outputs."""
    lines = [name]
    for kind, names in node["input_order"].items():
        for key in names if kind != "hidden" else ():
            spec, options = [*node["input"][kind][key], {}][:2]
            combo = isinstance(spec, list) or spec == "COMBO"  # older releases give a list of the options
            words = [f"  {'in ' if kind == 'required' else 'in?'}", key, "COMBO" if combo else spec]
            if "default" in options:
                words.append(repr(options["default"]))
            if options.get("control_after_generate"):
                words.append("and a widget after it: control_after_generate")
            lines.append(" ".join(words))
    return lines + [f"  out {name} {kind}" for name, kind in zip(node["output_name"], node["output"])]


def test_nodes_are_as_saved_workflows_know_them(client):
    module = f"custom_nodes.{PACK}"
    nodes = {name: node for name, node in client.object_info().items() if node["python_module"] == module}
    now = [line for name in sorted(nodes) for line in described(name, nodes[name])]
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    changes = [line for line in difflib.ndiff(frozen, now) if line[0] in "+-"]
    assert not changes, ADVICE + "\n".join(changes)
