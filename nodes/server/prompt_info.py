"""The prompt that is being executed, and the workflow that the page queues with it. All of it is untrusted."""

from __future__ import annotations

from typing import Any

from server import PromptServer


def running_prompt() -> dict[str, Any]:
    """The prompt that is being executed: node id -> {"class_type", "inputs"}; empty without a server."""
    return _running(2) or {}


def running_workflow() -> str | None:
    """The id of the workflow that is being executed; None if it has none, as when a script queued it."""
    return workflow_id((_running(3) or {}).get("extra_pnginfo"))


def _running(part: int) -> Any:
    """A part of the queue's entry that is being executed: 2 is the prompt, 3 what was queued along with it."""
    server = getattr(PromptServer, "instance", None)
    running = server.prompt_queue.get_current_queue_volatile()[0] if server is not None else []
    return running[0][part] if running else None


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
