"""How much of what artists run the tested families are, by the usage counts of the host's own workflow templates.

The counts and the workflows come in the package ``comfyui-workflow-templates-json``. A template counts if it samples
here (not on a paid service), and is shown if every diffusion model that it loads belongs to a tested family, which its
file name tells.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from tests.bench.figures import Figure, publish
from tests.tiny.families import FAMILIES, Family

PACKAGE = "comfyui_workflow_templates_json"
NO_SAMPLING = ("sam3",)  # how the names of files begin whose networks find things in a picture
LOADERS = ("UNETLoader", "CheckpointLoaderSimple", "ImageOnlyCheckpointLoader")


@dataclass(frozen=True)
class Template:
    """One of the host's templates that samples.

    Attributes:
        usage: how often it was run, as the package counts it.
        weights: files of the diffusion models that it loads.
    """

    name: str
    usage: int
    weights: tuple[str, ...]


def nodes(graph: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The nodes of a workflow and of its subgraphs."""
    yield from graph.get("nodes", ())
    for subgraph in graph.get("definitions", {}).get("subgraphs", ()):
        yield from nodes(subgraph)


def templates() -> list[Template]:
    """The templates that sample, most used first."""
    folder = Path(str(files(PACKAGE))) / "templates"
    found = {}
    for category in json.loads((folder / "index.json").read_text(encoding="utf-8")):
        for entry in category["templates"]:
            graph = folder / f"{entry['name']}.json"
            if not graph.exists():
                continue
            parts = list(nodes(json.loads(graph.read_text(encoding="utf-8"))))
            if any("Sampler" in node["type"] for node in parts):
                weights = (node["widgets_values"][0] for node in parts
                           if node["type"] in LOADERS and node.get("widgets_values")
                           and not node["widgets_values"][0].startswith(NO_SAMPLING))
                found[entry["name"]] = Template(entry["name"], entry["usage"], tuple(sorted(set(weights))))
    return sorted(found.values(), key=lambda template: -template.usage)


def family_of(file: str) -> Family | None:
    """The family that a file of weights belongs to: the one with the longest beginning of its name."""
    name = Path(file).name.lower()
    known = [(len(start), family) for family in FAMILIES.values() for start in family.weights
             if name.startswith(start.lower())]
    return max(known, key=lambda pair: pair[0])[1] if known else None


def shown(template: Template) -> bool:
    """Whether all diffusion models of a template are of tested families."""
    return bool(template.weights) and all(map(family_of, template.weights))


def shares() -> dict[str, float]:
    """The share of all usage that is shown, and the same without the most used family, which alone is most of it."""
    every = templates()
    most_used = family_of(every[0].weights[0])
    others = [template for template in every if not any(family_of(file) is most_used for file in template.weights)]
    return {label: sum(template.usage for template in part if shown(template)) / sum(t.usage for t in part)
            for label, part in (("all", every), (f"without {most_used.title}", others))}


def sentence() -> str:
    """The shares in words, for the README."""
    every, others = ((label, f"{100 * share:.1f}%") for label, share in shares().items())
    return (f"Together they cover {every[1]} of the runs that ComfyUI counts of its own templates with a sampler "
            f"({others[1]} {others[0]}; {PACKAGE} {version(PACKAGE)}).")


def runs() -> dict[str, int]:
    """How often templates with a family were run, by its title, the most used first."""
    counts: dict[str, int] = {}
    for template in templates():
        for title in {family.title if (family := family_of(file)) else "none" for file in template.weights} or {"none"}:
            counts[title] = counts.get(title, 0) + template.usage
    return dict(sorted(counts.items(), key=lambda pair: -pair[1]))


def figures() -> Iterator[Figure]:
    """The shares, the usage of every family, and of every template that no tested family covers."""
    for label, share in shares().items():
        yield Figure("shown", share, "1", {"templates": label})
    for title, count in runs().items():
        yield Figure("runs", count, "1", {"family": title})
    for template in templates():
        if not shown(template):
            unknown = ", ".join(file for file in template.weights if not family_of(file))
            yield Figure("runs_not_shown", template.usage, "1", {"template": template.name, "files": unknown})


def main() -> None:
    """Prints the figures, and writes them with --json FILE."""
    import argparse

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json")
    publish(figures(), parser.parse_args().json)


if __name__ == "__main__":
    main()
