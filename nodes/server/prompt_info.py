"""What the workflow of the page, as it was queued, says of itself and of a node that runs. Nothing of it is trusted."""

from __future__ import annotations

from typing import Any


def workflow_id(extra_pnginfo: Any) -> str | None:
    """The id of the page's workflow; None where it was queued without one, as by a script.

    Workflows that the page opened in the API's format share the id of zeros.
    """
    found = _entry(_entry(extra_pnginfo, "workflow"), "id")
    return found if isinstance(found, str) else None


def properties_of(extra_pnginfo: Any, node_id: Any) -> dict[str, Any]:
    """The properties of a node, which may lie in subgraphs ("12:3"); empty if the workflow does not know it."""
    workflow = _entry(extra_pnginfo, "workflow")
    subgraphs = _entry(_entry(workflow, "definitions"), "subgraphs")
    graph, node = workflow, None
    for part in str(node_id).split(":"):
        node = _first(_entry(graph, "nodes"), part)
        graph = _first(subgraphs, _entry(node, "type"))
    found = _entry(node, "properties")
    return found if isinstance(found, dict) else {}


def _entry(thing: Any, key: str) -> Any:
    return thing.get(key) if isinstance(thing, dict) else None


def _first(things: Any, id: Any) -> Any:
    """The one of a list of dicts that has this id; ids are numbers or texts."""
    things = things if isinstance(things, list) else []
    return next((thing for thing in things if isinstance(thing, dict) and str(thing.get("id")) == str(id)), None)
