"""Policies that travel inside workflows: the page asks for a file to embed it, and hands back what a workflow brings.

Bytes that come in are a stranger's. They are checked as every policy file is, their name is checked, they never replace
another policy, and the page offers only what a ReCache Budget node of the loaded workflow uses.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from ...policies.policy_file import SUFFIX, About, PolicyFileError, inside, load_bytes, read_bytes, save_bytes
from ..server.page import add_route, one_line
from . import folders

ROUTE = "/recache/policy"
PROPERTY = "recache_policy"  # of a node in a workflow: what `embeddable` gives
MAX_EMBEDDED = 256 * 2**10  # bytes of a policy in a workflow; trained ones have a few thousand
_MAX_BODY = 2 * MAX_EMBEDDED
_MAX_NAME = 150
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
_keeping = threading.Lock()


def origin(about: About) -> str:
    """Where a policy comes from, in at most 200 characters: what it was fitted on, and its author's first words."""
    fitted = f"fitted on {about.model_family}, {about.steps} steps, {about.sampler} {about.scheduler}".rstrip()
    return one_line(f"{fitted}: {about.notes}" if about.notes else fitted)


def stated_origin(properties: dict[str, Any], name: str) -> str:
    """Where a workflow says that its policy `name` comes from; empty if it does not say."""
    stated = properties.get(PROPERTY)
    return one_line(stated.get("from")) if isinstance(stated, dict) and stated.get("file") == name else ""


def embeddable(name: str) -> dict[str, Any]:
    """What a workflow keeps of a policy: {"file": name, "from": its origin, "data": base64, or None if it is too big}.

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


def keep(name: str, content: bytes) -> tuple[str, bool]:
    """Keep a policy that came with a workflow in models/recache: its name there, and whether it is new there.

    A policy of this name that has other contents stays as it is, and the new one gets a suffix made of its contents, so
    that the same workflow brings the same file however often it is loaded.

    Raises:
        PolicyFileError: the bytes are no policy, the name is none for a file, or the file can't be written.
    """
    load_bytes(content, name)
    name = _checked(name)
    suffixed = f"{name.removesuffix(SUFFIX)}-{hashlib.sha256(content).hexdigest()[:8]}{SUFFIX}"
    with _keeping:
        for free in (name, suffixed):
            found = folders.policy_path(free)
            if found is None:
                save_bytes(inside(folders.policies_folder(), free), content)
                return str(Path(free)), True
            folder, path = found
            if read_bytes(path, folder) == content:
                return str(Path(free)), False
    raise PolicyFileError(f"The policy '{name}' is in models/recache with other contents; rename one of them.")


def _checked(name: str) -> str:
    """The name with forward slashes, if every file system takes it and it stays in its folder."""
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


async def give(request: web.Request) -> web.Response:
    """GET ?file=NAME: see `embeddable`, or {"error": why} where there is no such policy."""
    try:
        return web.json_response(await asyncio.to_thread(embeddable, request.query.get("file", "")))
    except PolicyFileError as error:
        return web.json_response({"error": str(error)})


async def take(request: web.Request) -> web.Response:
    """POST {"file": name, "data": base64}: see `keep`; the answer is {"file": name, "new": bool}, or {"error": why}.

    A policy that is refused is an answer like any other; only what no page of ours sends has an error's status.
    Only JSON is taken: a page of another site can't send that without asking the server first.
    """
    if request.content_type != "application/json":
        return _refused("A policy is sent as JSON.", 415)
    body = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        body += chunk
        if len(body) > _MAX_BODY:
            return _refused("The workflow's policy is too big to be one; get the workflow again.", 413)
    try:
        sent = json.loads(bytes(body))
        name, data = sent["file"], sent["data"]
        if not isinstance(name, str) or not isinstance(data, str):
            raise TypeError(name)
    except (ValueError, TypeError, KeyError, RecursionError):
        return _refused("The workflow's policy is damaged; get the workflow again.", 400)
    try:
        name, new = await asyncio.to_thread(keep, name, base64.b64decode(data, validate=True))
    except PolicyFileError as error:
        return web.json_response({"error": str(error)})
    except ValueError:  # that is no base64
        return web.json_response({"error": "The workflow's policy is damaged; get the workflow again."})
    return web.json_response({"file": name, "new": new})


def _refused(sentence: str, status: int) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def register() -> None:
    """Add the routes, where a page is served."""
    add_route("GET", ROUTE, give)
    add_route("POST", ROUTE, take)
