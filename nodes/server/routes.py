"""The page's question for a plan, over HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from ... import caching
from . import wording
from .page import add_route
from .plan import Question, plan

ROUTE = "/recache/plan"
MAX_BYTES = 256 * 1024
MAX_NODES = 200
MAX_DEPTH = 50
MAX_TEXT = 2000

_one_at_a_time = asyncio.Lock()
_DEFAULTS = {
    "budget": 0.3, "policy": "auto", "evaluations": "", "mechanism": "taylor", "order": 1, "cache_point": "auto"}


class BadQuestion(ValueError):
    """What was sent is no question; the message says why."""


async def answer(request: web.Request) -> web.Response:
    """POST of a Question as JSON: the plan (see plan.plan); 400 and one sentence for anything else."""
    try:
        if request.content_length is None or request.content_length > MAX_BYTES:
            raise BadQuestion(f"The question is not a JSON object of at most {MAX_BYTES // 1024} KB.")
        asked = question(await request.read())
    except BadQuestion as error:
        return web.json_response({"error": str(error)}, status=400)
    wording.PageLanguage.current = asked.language
    async with _one_at_a_time:
        return web.json_response((await asyncio.to_thread(plan, asked)).as_json())


def question(body: bytes) -> Question:
    """What the page asks.

    Raises:
        BadQuestion: it is none.
    """
    try:
        asked = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise BadQuestion("The question is no JSON.") from None
    if not isinstance(asked, dict) or not isinstance(asked.get("settings"), dict):
        raise BadQuestion("The question has no settings.")
    given = {name: value for name, value in asked["settings"].items() if value is not None}
    unknown = tuple(name for name in _DEFAULTS if name not in given)
    settings = {**_DEFAULTS, **{name: value for name, value in given.items() if name in _DEFAULTS}}
    budget, order = settings["budget"], settings["order"]
    if not _number(budget) or not 0.0 < budget <= 1.0:
        raise BadQuestion("The budget is no number above 0 and at most 1.")
    if not _number(order) or order not in (1, 2, 3):
        raise BadQuestion("The order is not 1, 2 or 3.")
    mechanisms = caching.AUTO, *caching.MECHANISMS
    if settings["mechanism"] not in mechanisms or settings["cache_point"] not in caching.CACHE_POINTS:
        raise BadQuestion("The mechanism or the cache point is none that ReCache has.")
    texts = (settings["policy"], settings["evaluations"], asked.get("workflow", ""), asked.get("node", ""),
             asked.get("language", ""))
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in texts):
        raise BadQuestion(f"Policy, evaluations, workflow, node and language are texts of at most {MAX_TEXT} letters.")
    sampler = asked.get("sampler")
    if sampler is not None:
        _check_tree(sampler, MAX_DEPTH, [MAX_NODES])
    settings["order"] = int(order)
    return Question(
        asked.get("workflow", ""), asked.get("node", ""), **settings, trained=asked.get("trained") is True,
        sampler=sampler, unknown=unknown, language=asked.get("language", ""))


def _check_tree(tree: Any, depth: int, left: list[int]) -> None:
    left[0] -= 1
    if depth == 0 or left[0] < 0:
        raise BadQuestion(f"The sampler hangs on more than {MAX_NODES} nodes, or deeper than {MAX_DEPTH}.")
    if not isinstance(tree, dict) or not isinstance(tree.get("type"), str) or not isinstance(tree.get("inputs"), dict):
        raise BadQuestion("The sampler is no tree of nodes with type and inputs.")
    for value in tree["inputs"].values():
        if isinstance(value, dict):
            _check_tree(value, depth - 1, left)
        elif not (value is None or isinstance(value, bool) or _number(value)
                  or (isinstance(value, str) and len(value) <= MAX_TEXT)):
            raise BadQuestion("The inputs of the sampler's nodes are numbers, short texts and nodes.")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def register() -> None:
    """Add the route, where a page is served."""
    add_route("POST", ROUTE, answer)
