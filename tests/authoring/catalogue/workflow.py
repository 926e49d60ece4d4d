"""What one shipped workflow is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recache.policies.budget import computed_for_budget

HUB = "https://huggingface.co/"
POSITIVE, NEGATIVE = "CLIP Text Encode (Positive Prompt)", "CLIP Text Encode (Negative Prompt)"

Nodes = Mapping[str, tuple[str, Mapping[str, Any]]]

_OUTSIDE = ("LoadImage", "LoadVideo", "SaveImage", "SaveVideo")
# Widgets that a subgraph's node shows, from top to bottom; "value" is a number's.
_PROMOTED = ("text", "prompt", "value", "width", "height", "length", "seed", "noise_seed", "steps", "budget", "cfg",
             "guidance", "denoise", "ckpt_name", "unet_name", "clip_name", "clip_name1", "clip_name2", "text_encoder",
             "vae_name", "lora_name", "model_name")


def _label(key: str, widget: str) -> str:
    if widget in ("text", "prompt"):
        return "negative prompt" if key.startswith("negative") else "prompt"
    return key if widget == "value" else {"noise_seed": "seed", "model_name": "upscaler"}.get(widget, widget)


@dataclass(frozen=True)
class File:
    """A model file: its name, its folder in ComfyUI's models folder, and where it is downloaded."""

    name: str
    directory: str
    url: str


@dataclass(frozen=True)
class Workflow:
    """One file of workflows/.

    Attributes:
        name: the stem of the file, which is the title under Templates.
        template: ComfyUI's own template that the nodes and settings are from; "" if there is none.
        nodes: key -> (node type, inputs); an input that is a tuple is a link: (key, number of the output).
        groups: what a column is about, and its nodes from top to bottom; notes are named "note" and "models".
        files: the model files that the loaders name.
        note: what the note says about ReCache, in Markdown.
        line: what the thumbnail says under the name.
        evaluations: of the run that the thumbnail shows.
        budget: of that run.
        titles: of nodes that are not called as their type is.
        inside: nodes with widgets that an artist seldom sets: their subgraph's node does not show them.
        subgraph: whether all but what is loaded and saved lies in one subgraph, as in ComfyUI's own templates.
    """

    name: str
    template: str
    nodes: Nodes
    groups: tuple[tuple[str, tuple[str, ...]], ...]
    files: tuple[File, ...]
    note: str
    line: str
    evaluations: int
    budget: float
    titles: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    subgraph: bool = False

    @property
    def outside(self) -> tuple[str, ...]:
        """The nodes outside the subgraph."""
        return tuple(key for key, (kind, _) in self.nodes.items() if kind in _OUTSIDE) if self.subgraph else ()

    @property
    def promoted(self) -> dict[str, list[tuple[str, str]]]:
        """Name of an input of the subgraph -> the widgets that it sets: (key, widget); widgets that agree share one."""
        found: dict[tuple[str, Any], list[tuple[str, str]]] = {}
        for widget in _PROMOTED if self.subgraph else ():
            for key, (kind, inputs) in self.nodes.items():
                if kind in _OUTSIDE or key in self.inside or (widget == "denoise" and inputs.get(widget) == 1.0):
                    continue
                if not isinstance(inputs.get(widget, ()), tuple):
                    found.setdefault((_label(key, widget), inputs[widget]), []).append((key, widget))
        labels = [label for label, _ in found]
        return {label if labels.count(label) == 1 else f"{widgets[0][0]} model": widgets  # short, to be read whole
                for (label, _), widgets in found.items()}

    @property
    def computed(self) -> int:
        """How many of the evaluations the budget pays for."""
        return computed_for_budget(self.budget, self.evaluations)

    @property
    def models(self) -> str:
        """The note on the model files, in Markdown."""
        lines = [f"- [{file.name}]({HUB}{file.url}) in `models/{file.directory}`" for file in self.files]
        return "\n".join(["## Model files", "", *lines])
