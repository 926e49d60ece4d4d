"""Routes, events and texts for the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from server import PromptServer


class BadRequest(ValueError):
    """A request that the pack's page does not send; the message is one sentence.

    Args:
        status: of HTTP.
    """

    def __init__(self, sentence: str, status: int = 400):
        super().__init__(sentence)
        self.status = status

    @property
    def response(self) -> web.Response:
        """The answer."""
        return web.json_response({"error": str(self)}, status=self.status)


def add_route(method: str, path: str, handler: Callable) -> None:
    """Add a route to ComfyUI's server, if there is one. Call it while ComfyUI loads the pack."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.routes.route(method, path)(handler)


async def read_body(request: web.Request, limit: int) -> bytes:
    """The body of a POST, of at most `limit` bytes; no more is read.

    Only JSON is accepted, because a page of another site can't send it without a preflight request. ComfyUI itself
    refuses what a browser marks as another site's only since 0.24.0.

    Raises:
        BadRequest: it is too long, said to be something else, or of another site.
    """
    if request.headers.get("Sec-Fetch-Site") == "cross-site":
        raise BadRequest("The request is of another site.", 403)
    if request.content_type != "application/json":
        raise BadRequest("The request is not JSON.", 415)
    body = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        body += chunk
        if len(body) > limit:
            raise BadRequest(f"The request is longer than {limit // 1024} KB.", 413)
    return bytes(body)


def parse_json(body: bytes) -> Any:
    """The JSON of a body, without NaN and infinities.

    Raises:
        BadRequest: it is something else.
    """
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(body, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise BadRequest("The request is not JSON.") from None


def send_event(event: str, data: dict[str, Any], page: str | None = None) -> None:
    """Send an event to the page with this client id, or to every open one, if there is a server; web/ listens to it."""
    server = getattr(PromptServer, "instance", None)
    if server is not None:
        server.send_sync(event, data, page)


def show_preview(workflow: str | None, node_id: str | None, picture: str) -> None:
    """Show a picture, given as an address, on a node while it runs: on the page that queued it, if one did."""
    page = getattr(getattr(PromptServer, "instance", None), "client_id", None)
    if page is not None:  # only that page is told when the node has run
        send_event("recache.preview", {"workflow": workflow, "node": node_id, "picture": picture}, page)


def show_text(workflow: str | None, node_id: str | None, text: str) -> None:
    """Show `text` on a node of a workflow while it runs, if there is a server."""
    send_event("recache.text", {"workflow": workflow, "node": node_id, "text": text})
