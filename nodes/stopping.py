"""Ending the running training early and keeping its best: a button on the page asks for it."""

from __future__ import annotations

import threading

from aiohttp import web

from .display import add_route

STOP_ROUTE = "/recache/stop"

_asked = threading.Event()  # one workflow runs at a time, and so one training


def began() -> None:
    """A training begins: what was asked before does not count."""
    _asked.clear()


def asked() -> bool:
    """Whether the artist asked to stop the running training."""
    return _asked.is_set()


async def stop(request: web.Request) -> web.Response:
    """POST: the running training ends, and its best policy goes on to the next node."""
    _asked.set()
    return web.json_response({})


def register() -> None:
    """Add the route, where a page is served."""
    add_route("POST", STOP_ROUTE, stop)
