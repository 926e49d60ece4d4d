"""The state of trainings, for the page, and the request to stop one early and keep its best.

Every event has the whole state of a training, so that a lost event does not matter; a page that is loaded gets the
states of all trainings.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import comfy.model_management
from aiohttp import web

from .page import BadRequest, add_route, parse_json, read_body, send_event

EVENT = "recache.training"
ROUTE = "/recache/training"
STOP_ROUTE = "/recache/stop"
EVENT_SECONDS = 0.5  # minimum between two events of one training
MAX_TRAININGS = 20
MAX_BYTES = 1024  # of a request to stop


@dataclass(frozen=True)
class State:
    """The state of one training.

    Attributes:
        id: of the training. node, workflow: ids of where it was queued (see prompt_info.workflow_id).
        state: "running", "done", "cancelled" or "failed".
        phase: while running, see request.Progress, with `part` of `parts`; or "choosing" by held-out samples, once the
            search is over.
        evaluations, limit: network evaluations that the training has taken in all, and may take.
        gain: mean share of the default schedules' error that the best schedules save on the training samples.
        curve: (evaluations, gain) after every improvement.
        budgets: (k, n, gain) for every budget: k of n evaluations computed.
        seconds_left: of the search, at most; None if not known yet.
        stopping: whether the artist asked to keep the best so far.
        summary: the result or the error, in a sentence; "" while running and where it was cancelled.
    """

    id: int
    node: str
    workflow: str | None
    state: str = "running"
    phase: str = ""
    part: int = 0
    parts: int = 0
    evaluations: int = 0
    limit: int = 0
    gain: float = 0.0
    curve: tuple[tuple[int, float], ...] = ()
    budgets: tuple[tuple[int, int, float], ...] = ()
    seconds_left: float | None = None
    stopping: bool = False
    summary: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the page; gains that are not finite become 0."""
        finite = [(spent, gain if math.isfinite(gain) else 0.0) for spent, gain in self.curve]
        budgets = [(k, n, gain if math.isfinite(gain) else 0.0) for k, n, gain in self.budgets]
        gain = self.gain if math.isfinite(self.gain) else 0.0
        return asdict(replace(self, curve=finite, budgets=budgets, gain=gain))


_ids = itertools.count(1)
_states: dict[int, State] = {}  # the newest last
_lock = threading.Lock()  # the workflow runs in one thread, the server in another


class TrainingMonitor:
    """Updates the state of a running training, and sends it to the page at most every EVENT_SECONDS."""

    def __init__(self, id: int):
        self.id, self._sent = id, -math.inf

    def update(self, **changes: Any) -> bool:
        """Change the state; return whether it was sent to the page, which happens at most every EVENT_SECONDS."""
        state = _change(self.id, **changes)
        due = time.monotonic() - self._sent >= EVENT_SECONDS
        if due:
            self._send(state)
        return due

    def end(self, state: str, summary: str) -> None:
        """End the training as "done", "cancelled" or "failed", with a summary."""
        self._send(_change(self.id, state=state, summary=summary, stopping=False, seconds_left=None))

    def stopped(self) -> bool:
        """Whether the artist asked to stop and keep the best so far."""
        return _states[self.id].stopping

    def _send(self, state: State) -> None:
        self._sent = time.monotonic()
        send_event(EVENT, state.as_json())


def _change(id: int, **changes: Any) -> State:
    with _lock:
        _states[id] = replace(_states[id], **changes)
        return _states[id]


@contextmanager
def training(node: str | None, workflow: str | None, limit: int) -> Iterator[TrainingMonitor]:
    """A training that lasts as long as the ``with`` block, and ends with it in any case."""
    id = next(_ids)
    with _lock:
        _states[id] = State(id, str(node), workflow, limit=limit)
        for old in list(_states)[:-MAX_TRAININGS]:
            del _states[old]
    monitor = TrainingMonitor(id)
    monitor.update()
    try:
        yield monitor
    except comfy.model_management.InterruptProcessingException:
        monitor.end("cancelled", "")
        raise
    except BaseException as error:
        monitor.end("failed", str(error))
        raise


async def get_trainings(request: web.Request) -> web.Response:
    """GET: {"trainings": states}, the oldest first, for a page that missed the events."""
    with _lock:
        states = list(_states.values())
    return web.json_response({"trainings": [state.as_json() for state in states]})


async def post_stop(request: web.Request) -> web.Response:
    """POST {"training": id}: stop that training and keep its best so far; {"stopped": whether it was running}."""
    try:
        sent = parse_json(await read_body(request, MAX_BYTES))
        if not isinstance(sent, dict) or "training" not in sent:
            raise BadRequest("Name the training to stop.")
    except BadRequest as error:
        return error.response
    id = sent["training"]
    with _lock:
        state = _states.get(id) if type(id) is int else None
        running = state is not None and state.state == "running"
        if running:
            state = _states[id] = replace(state, stopping=True)
    if running:
        send_event(EVENT, state.as_json())
    return web.json_response({"stopped": running})


def register() -> None:
    """Add the routes, where a page is served."""
    add_route("GET", ROUTE, get_trainings)
    add_route("POST", STOP_ROUTE, post_stop)
