"""What saved workflows hold on to: node ids, inputs in their order with types and defaults, and outputs.

A workflow stores a node's widget values by position and its links by name or position, so a change that looks harmless
puts old values into the wrong widgets without a word. ``frozen.txt`` is what was given out.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from tests.hosting.server import PACK

WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
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


def own_nodes(client) -> dict[str, dict]:
    """The pack's nodes in ``/object_info``."""
    return {name: node for name, node in client.object_info().items()
            if node["python_module"] == f"custom_nodes.{PACK}"}


def test_nodes_are_as_saved_workflows_know_them(client):
    nodes = own_nodes(client)
    now = [line for name in sorted(nodes) for line in described(name, nodes[name])]
    frozen = FROZEN.read_text(encoding="utf-8").splitlines()
    changes = [line for line in difflib.ndiff(frozen, now) if line[0] in "+-"]
    assert not changes, ADVICE + "\n".join(changes)


def test_the_page_saves_their_values_in_that_order_and_nothing_between(page, client):
    nodes = own_nodes(client)
    for name in nodes:
        page.add(name)
    saved = {node["type"]: node.get("widgets_values", []) for node in page.workflow()["nodes"]}
    assert saved.keys() == nodes.keys()
    for name, node in nodes.items():
        specs = [node["input"][kind][key] for kind in ("required", "optional")
                 for key in node["input_order"].get(kind, ())]
        defaults = [options[0].get("default") if options else None for kind, *options in specs
                    if isinstance(kind, list) or kind in WIDGETS]
        assert len(saved[name]) == len(defaults), name
        assert [value for value, default in zip(saved[name], defaults) if default is not None] == [
            default for default in defaults if default is not None], name
