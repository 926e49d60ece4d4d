"""Policies that travel inside workflows: the page gets a file to embed it, and sends back what a workflow contains.

Incoming bytes are untrusted: they are checked as every policy file is, their name is checked, they never replace
another policy, and the page sends only what a ReCache node of the loaded workflow uses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from ...policies.policy_file import SUFFIX, About, PolicyFileError, inside, load_bytes, read_bytes, save_bytes
from ..server.page import BadRequest, add_route, parse_json, read_body
from . import folders
from .one_line import one_line
from .resolve import displaced, usable

ROUTE = "/recache/policy"
PROPERTY = "recache_policy"  # of a node in a workflow: what `embeddable` returns
MAX_EMBEDDED = 256 * 2**10  # bytes of a policy in a workflow; a trained one has a few thousand
_MAX_BODY = 2 * MAX_EMBEDDED
_MAX_NAME = 150
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_storing = threading.Lock()


def origin(about: About) -> str:
    """Where a policy comes from, in at most 200 characters: what it was fitted on, and the beginning of its notes."""
    fitted = f"fitted on {about.model_family}, {about.steps} steps, {about.sampler} {about.scheduler}".rstrip()
    return one_line(f"{fitted}: {about.notes}" if about.notes else fitted)


def stated_origin(properties: dict[str, Any], name: str) -> str:
    """Where a workflow says that its policy `name` comes from; empty if it does not say."""
    stated = properties.get(PROPERTY)
    return one_line(stated.get("from")) if isinstance(stated, dict) and stated.get("file") == name else ""


def embeddable(name: str) -> dict[str, Any]:
    """What a workflow stores of a policy: {"file": name, "from": its origin, "data": base64, None if it is too big}.

    Raises:
        PolicyFileError: there is no such file, or it is no policy.
    """
    found = folders.policy_path(name)
    if found is None:
        raise PolicyFileError(f"The policy '{one_line(name)}' is not in models/recache.")
    folder, path = found
    content = read_bytes(path, folder)
    about = load_bytes(content, path.name).about
    data = base64.b64encode(content).decode("ascii") if len(content) <= MAX_EMBEDDED else None
    return {"file": str(path.relative_to(folder)), "from": origin(about), "data": data}


@dataclass(frozen=True)
class Stored:
    """A policy of a workflow in models/recache.

    Attributes:
        file: its name there. new: whether it was not there before.
        instead_of: a policy in whose place "auto" uses it from now on, or None.
    """

    file: str
    new: bool
    instead_of: str | None = None


def store(name: str, content: bytes) -> Stored:
    """Save a policy that came with a workflow in models/recache.

    A policy of this name with other contents is not replaced: the new one gets a hash of its contents as a suffix, so
    that a workflow that is loaded again adds no further file.

    Raises:
        PolicyFileError: the bytes are no usable policy, the name can't be a file's, or the file can't be written.
    """
    policy = usable(load_bytes(content, name), name)
    name = _checked(name)
    suffixed = f"{name.removesuffix(SUFFIX)}-{hashlib.sha256(content).hexdigest()[:8]}{SUFFIX}"
    with _storing:
        for each in (name, suffixed):
            found = folders.policy_path(each)
            if found is None:
                path = inside(folders.policies_folder(), each)
                return Stored(str(Path(each)), True, displaced(policy, partial(save_bytes, path, content)))
            folder, path = found
            if read_bytes(path, folder) == content:
                return Stored(str(Path(each)), False)
    raise PolicyFileError(f"The policy '{name}' is in models/recache with other contents; rename one of them.")


def _checked(name: str) -> str:
    """The name with forward slashes, if every file system accepts it and it stays in its folder."""
    name = name.replace("\\", "/")
    parts = name.removesuffix(SUFFIX).split("/")
    odd = len(name) > _MAX_NAME or len(parts) > 4 or any(
        not part or part != part.strip(". ") or folders.UNSAFE.search(part) or part.lower() in _RESERVED
        or not part.isprintable() for part in parts)
    if odd:
        raise PolicyFileError(
            f"The policy '{one_line(name)}' has a name that can't be kept in models/recache; rename it.")
    inside(folders.policies_folder(), name)
    return name


async def get_policy(request: web.Request) -> web.Response:
    """GET ?file=NAME: see `embeddable`, or {"error": why} where there is no such policy."""
    try:
        return web.json_response(await asyncio.to_thread(embeddable, request.query.get("file", "")))
    except PolicyFileError as error:
        return web.json_response({"error": str(error)})


async def post_policy(request: web.Request) -> web.Response:
    """POST {"file": name, "data": base64}: see `store`; the answer is a Stored, or {"error": why}.

    A refused policy has status 200; only requests that the pack's page does not send have an error's status.
    """
    try:
        sent = parse_json(await read_body(request, _MAX_BODY))
        name, data = (sent.get("file"), sent.get("data")) if isinstance(sent, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(data, str):
            raise BadRequest("The workflow's policy is damaged; get the workflow again.")
    except BadRequest as error:
        return error.response
    try:
        stored = await asyncio.to_thread(store, name, base64.b64decode(data, validate=True))
    except PolicyFileError as error:
        return web.json_response({"error": str(error)})
    except ValueError:  # not base64
        return web.json_response({"error": "The workflow's policy is damaged; get the workflow again."})
    return web.json_response(asdict(stored))


def register() -> None:
    """Add the routes, where a page is served."""
    add_route("GET", ROUTE, get_policy)
    add_route("POST", ROUTE, post_policy)
