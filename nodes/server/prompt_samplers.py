"""The samplers in the prompt that is being executed, as trees like those that the page sends (see graph)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import nodes

from ...caching.dry_run import dry_run_without_rng
from ...caching.evaluations import takes_over
from . import graph
from .prompt_info import running_prompt

log = logging.getLogger(__name__)

MODELS = ("MODEL", "GUIDER")
READ = (*MODELS, "SAMPLER", "SIGMAS", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
MAX_NODES = 200  # in a tree


def following(node: str | None, leftover: float, model_sampling) -> list[tuple[float, ...]]:
    """Evaluation times of the samplers that take over a latent in turn, as far as the prompt tells.

    Args:
        node: id of the node whose MODELs they use.
        leftover: the noise level at which the first one begins; each goes on where the one before it ends.
        model_sampling: used where the prompt does not tell the MODEL.
    """
    prompt, found = running_prompt(), []
    samplings = [_sampling(prompt, id, node, model_sampling) for id in prompt] if leftover > 0.0 else []
    while one := next((one for one in samplings if one and takes_over(one.sigmas, leftover)), None):
        samplings.remove(one)
        times = dry_run_without_rng(one.sampler, one.sigmas, one.model.get_model_object("model_sampling")).times
        if not times:
            break
        found.append(times)
        leftover = float(one.sigmas[-1])
    return found


def _sampling(prompt: dict, id: str, node: str | None, model_sampling) -> graph.Sampling | None:
    """What the node `id` samples; None if it is no sampler with a MODEL of `node`, or the prompt does not tell."""
    try:
        if _is_sampler(prompt[id]["inputs"]) and _uses(prompt, id, node, set()):
            return graph.sampling(_tree(prompt, id, [MAX_NODES]), graph.model_stub(model_sampling))
    except Exception:  # a prompt may hold anything, and its run must not end for that
        log.debug("ReCache: the prompt does not tell what node %s samples.", id, exc_info=True)
    return None


def _is_sampler(inputs: dict[str, Any]) -> bool:
    return {"steps", "sampler_name"} <= inputs.keys() or {"sigmas", "sampler"} <= inputs.keys()


def _uses(prompt: dict, id: str, node: str | None, visited: set[str]) -> bool:
    """Whether a MODEL of `node` reaches the node `id`."""
    visited.add(id)
    sources = [source for _, source, _ in _links(prompt, id, MODELS)]
    return node in sources or any(_uses(prompt, source, node, visited) for source in sources if source not in visited)


def _tree(prompt: dict, id: str, left: list[int]) -> dict[str, Any]:
    left[0] -= 1
    if left[0] < 0:
        raise graph.Unknown
    inputs = {name: value for name, value in prompt[id]["inputs"].items() if not isinstance(value, (list, dict))}
    for name, source, slot in _links(prompt, id, READ):
        inputs[name] = {**_tree(prompt, source, left), "output": slot}
    return {"type": prompt[id]["class_type"], "inputs": inputs}


def _links(prompt: dict, id: str, kinds: tuple[str, ...]) -> Iterator[tuple[str, str, int]]:
    """(input, source, slot) for every input of a node that is linked to an output of one of these types."""
    for name, value in prompt[id]["inputs"].items():
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str) or value[0] not in prompt:
            continue
        source, slot = value
        made = nodes.NODE_CLASS_MAPPINGS[prompt[source]["class_type"]].RETURN_TYPES
        if slot < len(made) and made[slot] in kinds:
            yield name, source, slot
