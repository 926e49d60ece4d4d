"""The HTTP route for plans."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from ... import caching
from . import wording
from .page import BadRequest, add_route, parse_json, read_body
from .plan import PlanRequest, plan

ROUTE = "/recache/plan"
MAX_BYTES = 256 * 1024
MAX_NODES = 200
MAX_DEPTH = 50
MAX_SAMPLERS = 8
MAX_TEXT = 2000

_one_at_a_time = asyncio.Lock()
_DEFAULTS = {
    "budget": 0.3, "policy": "auto", "evaluations": "", "mechanism": "taylor", "order": 1, "cache_point": "auto"}


async def post_plan(request: web.Request) -> web.Response:
    """POST of a PlanRequest as JSON: the plan (see plan.plan); an error's status and one sentence for anything else."""
    try:
        parsed = parse(await read_body(request, MAX_BYTES))
    except BadRequest as error:
        return error.response
    wording.PageLanguage.current = parsed.language
    async with _one_at_a_time:
        return web.json_response((await asyncio.to_thread(plan, parsed)).as_json())


def parse(body: bytes) -> PlanRequest:
    """The request for a plan in the body of a POST.

    Raises:
        BadRequest: the body is something else.
    """
    sent = parse_json(body)
    if not isinstance(sent, dict) or not isinstance(sent.get("settings"), dict):
        raise BadRequest("The request has no settings.")
    given = {name: value for name, value in sent["settings"].items() if value is not None}
    unknown = tuple(name for name in _DEFAULTS if name not in given)
    settings = {**_DEFAULTS, **{name: value for name, value in given.items() if name in _DEFAULTS}}
    budget, order = settings["budget"], settings["order"]
    if not _number(budget) or not 0.0 < budget <= 1.0:
        raise BadRequest("The budget is not a number above 0 and at most 1.")
    if not _number(order) or order not in (1, 2, 3):
        raise BadRequest("The order is not 1, 2 or 3.")
    mechanisms = caching.AUTO, *caching.MECHANISMS
    if settings["mechanism"] not in mechanisms or settings["cache_point"] not in caching.CACHE_POINTS:
        raise BadRequest("ReCache has no such mechanism or cache point.")
    texts = (settings["policy"], settings["evaluations"], sent.get("workflow", ""), sent.get("node", ""),
             sent.get("language", ""))
    if not all(isinstance(text, str) and len(text) <= MAX_TEXT for text in texts):
        raise BadRequest(f"Policy, evaluations, workflow, node and language are texts of {MAX_TEXT} letters or less.")
    sampler, later, left = sent.get("sampler"), sent.get("later", []), [MAX_NODES]
    if not isinstance(later, list) or len(later) > MAX_SAMPLERS:
        raise BadRequest(f"The later samplers are not a list of at most {MAX_SAMPLERS}.")
    for tree in (sampler, *later) if sampler is not None else later:
        _check_tree(tree, MAX_DEPTH, left)
    settings["order"] = int(order)
    return PlanRequest(
        sent.get("workflow", ""), sent.get("node", ""), **settings, trained=sent.get("trained") is True,
        sampler=sampler, later=tuple(later), unknown=unknown, language=sent.get("language", ""))


def _check_tree(tree: Any, depth: int, left: list[int]) -> None:
    left[0] -= 1
    if depth == 0 or left[0] < 0:
        raise BadRequest(f"The sampler depends on more than {MAX_NODES} nodes, or on a chain of more than {MAX_DEPTH}.")
    if not isinstance(tree, dict) or not isinstance(tree.get("type"), str) or not isinstance(tree.get("inputs"), dict):
        raise BadRequest("The sampler is not a tree of nodes with type and inputs.")
    for value in tree["inputs"].values():
        if isinstance(value, dict):
            _check_tree(value, depth - 1, left)
        elif not (value is None or isinstance(value, bool) or _number(value)
                  or (isinstance(value, str) and len(value) <= MAX_TEXT)):
            raise BadRequest("The inputs of the sampler's nodes must be numbers, short texts or nodes.")


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def register() -> None:
    """Add the route, where a page is served."""
    add_route("POST", ROUTE, post_plan)
