"""The knee that ReCache Frontier last found in a workflow for a model, for the presets of the strip."""

from __future__ import annotations

from ...caching.lru import LruCache

MAX_KNEES = 64

_knees: LruCache[float | None] = LruCache(MAX_KNEES)


def remember(workflow: str | None, layout: str, knee: float | None) -> None:
    """A frontier was measured; None: it has no knee. Without a workflow's id nothing is remembered."""
    if workflow is not None:
        _knees.put((workflow, layout), knee)


def knee_of(workflow: str, layout: str | None) -> float | None:
    """The budget at the last knee for a model's layout (see model_identity.layout), or None."""
    return _knees.get((workflow, layout))
