"""The workflow that the page queues with a prompt: its id and its nodes' properties. All of it is untrusted."""

from __future__ import annotations

from typing import Any


def workflow_id(extra_pnginfo: Any) -> str | None:
    """The id of the page's workflow; None if there is none, as when a script queues a prompt.

    Workflows that the page opened in the API's format share an id of zeros.
    """
    found = _entry(_entry(extra_pnginfo, "workflow"), "id")
    return found if isinstance(found, str) else None


def properties_of(extra_pnginfo: Any, node_id: Any) -> dict[str, Any]:
    """The properties of a node, which may be in subgraphs ("12:3"); empty if the workflow does not have it."""
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
