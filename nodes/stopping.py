"""Ending a training early and keeping its best: a button on the page asks for it."""

from __future__ import annotations

from aiohttp import web
from server import PromptServer

STOP_ROUTE = "/recache/stop"

_asked: set[str] = set()


def began(node_id: str | None) -> None:
    """A training begins on this node: what was asked before does not count."""
    _asked.discard(str(node_id))


def asked(node_id: str | None) -> bool:
    """Whether the artist asked to stop the training on this node."""
    return str(node_id) in _asked


async def _stop(request: web.Request) -> web.Response:
    """POST {"node": id}: stop the training on that node, and keep its best."""
    try:
        node = (await request.json())["node"]
    except (ValueError, KeyError, TypeError):
        return web.json_response({"error": "Say which node: {\"node\": id}."}, status=400)
    _asked.clear()  # one workflow runs at a time
    _asked.add(str(node))
    return web.json_response({})


def register() -> None:
    """Add the route, where a page is served."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.post(STOP_ROUTE)(_stop)
