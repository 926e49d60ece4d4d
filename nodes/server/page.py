"""Routes, events and texts for the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from server import PromptServer

_MAX_LINE = 200


def add_route(method: str, path: str, handler: Callable) -> None:
    """Add a route to ComfyUI's server, if there is one. Call it while ComfyUI loads the pack."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.route(method, path)(handler)


def send_event(event: str, data: dict[str, Any]) -> None:
    """Send an event to every open page, if there is a server; web/ listens to it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(event, data)


def one_line(text: Any) -> str:
    """Untrusted text as a line of at most 200 printable characters; empty for anything but text."""
    if not isinstance(text, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:2000]).split())
    return line if len(line) <= _MAX_LINE else line[: _MAX_LINE - 3] + "..."


def show_text(workflow: str | None, node_id: str | None, text: str) -> None:
    """Show `text` on a node of a workflow while it runs, if there is a server."""
    send_event("recache.text", {"workflow": workflow, "node": node_id, "text": text})
