"""ComfyUI's own workflow templates, for tests of the page: which sample, and ReCacheBudget put into them."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced")
VALUES = ("ComfyNumberConvert", "ComfyMathExpression", "JsonExtractString", "StringReplace", "CustomCombo")
PACKAGES = ("comfyui-workflow-templates-json", "comfyui-workflow-templates-core")

# Puts a ReCache node before the model input of every sampler, or of its guider, in the workflow and its subgraphs, as
# an artist does by hand. Returns for each the ids of sampler and Budget, as the prompt has them; of a subgraph that is
# used several times, in the instance that comes first.
INSERT = """(samplers) => {
  const root = app.rootGraph ?? app.graph, inserted = [];
  const prefix = (wanted, graph = root, path = '') => {
    if (graph === wanted) return path;
    for (const node of graph.nodes) {
      const found = node.subgraph && prefix(wanted, node.subgraph, `${path}${node.id}:`);
      if (typeof found === 'string') return found;
    }
    return null;
  };
  for (const graph of [root, ...(root.subgraphs?.values() ?? [])]) {
    const into = (node, name) => {
      const slot = node.inputs.findIndex((input) => input.name === name);
      return [...graph.links.values()].find((link) => link.target_id == node.id && link.target_slot === slot);
    };
    const budgets = new Map();
    for (const sampler of [...graph.nodes].filter((node) => samplers.includes(node.type))) {
      let target = sampler, link;
      for (let guider; (guider = target.inputs.some((input) => input.name === 'guider') && into(target, 'guider'));)
        target = graph.getNodeById(guider.origin_id);
      if (!budgets.has(target)) {
        const budget = LiteGraph.createNode('ReCacheBudget');
        budget.pos = [target.pos[0] - 300, target.pos[1]];
        graph.add(budget);
        if ((link = into(target, 'model'))) {
          const from = graph.getNodeById(link.origin_id);
          if (from) from.connect(link.origin_slot, budget, 'model');
          else graph.inputNode.slots[link.origin_slot].connect(
            budget.inputs.find(({ name }) => name === 'model'), budget);
        }
        budget.connect('MODEL', target, 'model');
        budgets.set(target, budget);
      }
      const path = prefix(graph);
      if (path !== null) inserted.push([`${path}${sampler.id}`, `${path}${budgets.get(target).id}`]);
    }
  }
  return inserted;
}"""


def templates() -> dict[str, dict[str, Any]]:
    """Name -> workflow, of every template of the installed package that holds a sampler node."""
    found = {}
    for package in PACKAGES:
        for file in metadata.files(package) or []:
            path = Path(file.locate())
            if path.suffix == ".json" and path.parent.name == "templates" and not path.name.startswith("index"):
                workflow = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(workflow, dict) and any(node["type"] in SAMPLERS for node in _nodes(workflow)):
                    found[path.stem] = workflow
    return dict(sorted(found.items()))


def node_types(workflow: dict[str, Any]) -> set[str]:
    """Of all its nodes but subgraphs."""
    subgraphs = {graph["id"] for graph in workflow.get("definitions", {}).get("subgraphs", [])}
    return {node["type"] for node in _nodes(workflow)} - subgraphs


def varied(found: dict[str, dict[str, Any]]) -> list[str]:
    """Names of a few templates that together hold every kind of node from which a plan is read, also in subgraphs."""

    def traits(workflow: dict[str, Any]) -> set[tuple]:
        kinds = set()
        for graph in (workflow, *workflow.get("definitions", {}).get("subgraphs", [])):
            inside = graph is not workflow
            for node in graph.get("nodes", []):
                read = any(one.get("type") in ("SIGMAS", "SAMPLER", "GUIDER") for one in node.get("outputs") or [])
                if read or node["type"] in (*SAMPLERS, *VALUES, "ComfySwitchNode", "PrimitiveNode", "Reroute"):
                    kinds.add((node["type"], inside))
        return kinds

    missing = set().union(*map(traits, found.values()))
    chosen = []
    while missing:
        best = max(found, key=lambda name: (len(traits(found[name]) & missing), name))
        chosen.append(best)
        missing -= traits(found[best])
    return sorted(chosen)


def _nodes(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    graphs = [workflow, *workflow.get("definitions", {}).get("subgraphs", [])]
    return [node for graph in graphs for node in graph.get("nodes", [])]


class Prompt:
    """A queued prompt (API format), read back from a sampler: an account of the sampling without the page's own walk.

    Args:
        nodes: node id -> {"class_type", "inputs"}, as the host's page flattens the workflow.
        objects: the server's ``/object_info``.
    """

    LINKED = ("MODEL", "GUIDER", "SAMPLER", "SIGMAS")

    def __init__(self, nodes: dict[str, dict[str, Any]], objects: dict[str, dict[str, Any]]):
        self.nodes, self.objects = nodes, objects

    def tree(self, id: str) -> dict[str, Any]:
        """The node as the server's plan takes it, back to the loader."""
        node = self.nodes[id]
        inputs = {name: self._input(value) for name, value in node["inputs"].items()}
        return {"type": node["class_type"], "inputs": {name: value for name, value in inputs.items()
                                                       if value is not None and len(str(value)) < 20_000}}

    def _input(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value if not isinstance(value, str) or len(value) < 500 else None
        source, slot = value
        node = self.nodes[source]
        kind, inputs = node["class_type"], node["inputs"]
        if kind == "ComfySwitchNode":
            return self._input(inputs["on_true" if self._input(inputs["switch"]) else "on_false"])
        if kind.startswith("Primitive"):
            return self._input(inputs["value"])
        output = self.objects.get(kind, {}).get("output", [])
        if slot < len(output) and (output[slot] in self.LINKED or kind in VALUES):
            return self.tree(source) | {"output": slot}
        # what no plan can know yet, such as the width of a picture that is loaded
        return {"type": kind, "inputs": {}} if slot < len(output) and output[slot] in ("INT", "FLOAT") else None
