"""The workers of a Ray cluster, for one training. Ray places, feeds and restarts them, and repeats what was lost."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import comfy.model_management
import folder_paths

from ...caching import Reason
from ..library.one_line import one_line
from . import ray_actor

PORT = 6379  # of a cluster's head, where an address names none
CONNECT_SECONDS = 5.0
START_SECONDS = 600.0  # of the slowest worker, with its models
POLL_SECONDS = 0.5  # between looks at whether the artist cancelled
RESTARTS = 10  # of one worker, and repetitions of what it was about


class ClusterError(Exception):
    """There is no cluster to train on; the reason says why."""

    def __init__(self, code: str, **fields: Any):
        super().__init__(code)
        self.reason = Reason(code, fields)


def usable_address(address: str) -> str:
    """The address for Ray: "local", or of this machine's cluster.

    A workflow may come from anybody, and who connects to a cluster trusts it. So a workflow can only name the cluster
    that this machine is set up for (RAY_ADDRESS), or one on this machine.

    Raises:
        ClusterError: another address, or nothing listens there.
    """
    own = os.environ.get("RAY_ADDRESS", "")
    if address == "auto" and own:
        address = own
    if address in ("auto", "local"):
        return address
    try:
        url = urlsplit(address if "://" in address else f"ray://{address}")
        place = url.hostname or "", url.port or PORT
    except ValueError:
        raise ClusterError("cluster_unreachable", address=one_line(address)) from None
    if address != own and place[0] not in ("localhost", "127.0.0.1", "::1"):
        raise ClusterError("cluster_foreign", address=one_line(address))
    try:
        socket.create_connection(place, CONNECT_SECONDS).close()  # Ray itself would try for many minutes
    except OSError:
        raise ClusterError("cluster_unreachable", address=one_line(address)) from None
    return address


class Cluster:
    """Workers that hold the workflow of one training.

    Args:
        ray: the module. arguments: of ray_actor.Actor. notes: of the training; what went wrong is appended.

    Attributes:
        width: number of workers.

    Raises:
        ClusterError: not one worker could be made.
    """

    def __init__(self, ray: Any, arguments: tuple, notes: list[Reason]):
        self._ray, self._notes = ray, notes
        ray.cloudpickle.register_pickle_by_value(ray_actor)
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        options = {"num_cpus": 1, "num_gpus": 1 if gpus else 0, "max_restarts": RESTARTS, "max_task_retries": RESTARTS}
        make = ray.remote(ray_actor.Actor).options(**options)
        self._actors = [make.remote(*arguments) for _ in range(gpus or int(resources.get("CPU", 1)))]
        try:
            ready = self._ready()
        except BaseException:
            self.close()
            raise
        self.width = len(ready)
        self._pool = ray.util.ActorPool(ready)
        notes.append(Reason("cluster_used", {"workers": self.width}))

    def _ready(self) -> list:
        waiting = {actor.ready.remote(): actor for actor in self._actors}
        ready, error, until = [], None, time.monotonic() + START_SECONDS
        while waiting and time.monotonic() < until:
            comfy.model_management.throw_exception_if_processing_interrupted()
            for done in self._ray.wait(list(waiting), timeout=POLL_SECONDS)[0]:
                actor = waiting.pop(done)
                try:
                    self._ray.get(done)
                    ready.append(actor)
                except self._ray.exceptions.RayError as failed:
                    error = failed
        for actor in waiting.values():
            self._ray.kill(actor)
        if not ready:
            raise ClusterError("cluster_failed", error=_last_line(error))
        return ready

    def put(self, value: Any) -> Any:
        """A value that every task can name instead of carrying it."""
        return self._ray.put(value)

    def results(self, method: str, tasks: Iterable[tuple]) -> Iterator[tuple[Any, Any]]:
        """(task, result) of a method of the workers, as they come. A task that fails is left out, with a note."""
        for task in tasks:
            self._pool.submit(lambda actor, task: getattr(actor, method).remote(*task), task)
        while self._pool.has_next():
            comfy.model_management.throw_exception_if_processing_interrupted()
            try:
                yield self._pool.get_next_unordered(timeout=POLL_SECONDS)
            except TimeoutError:
                continue
            except self._ray.exceptions.RayError as error:
                note = Reason("cluster_lost", {"error": _last_line(error)})
                if note not in self._notes:
                    self._notes.append(note)

    def close(self) -> None:
        """End the workers. One that is gone already, as with its machine, must not end the training."""
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)


def _last_line(error: Exception | None) -> str:
    lines = str(error or "no worker answered in time").strip().splitlines()
    return one_line(lines[-1])


def needed_part(prompt: dict[str, Any], node_id: str) -> dict[str, Any]:
    """The node and what it depends on, without its uncached outputs, which the workers do not need."""
    train = prompt[node_id]
    inputs = {name: value for name, value in train["inputs"].items() if name != "references"}
    part, open_ids = {node_id: {**train, "inputs": inputs}}, [node_id]
    while open_ids:
        for value in part[open_ids.pop()]["inputs"].values():
            if isinstance(value, list) and len(value) == 2 and value[0] in prompt and value[0] not in part:
                part[value[0]] = prompt[value[0]]
                open_ids.append(value[0])
    return part


@contextmanager
def connected(address: str, prompt: dict[str, Any] | None, node_id: str | None, fingerprint: str,
              notes: list[Reason]) -> Iterator[Cluster | None]:
    """The cluster while a training lasts; None, with a note, where the training must do without.

    Args:
        address: see usable_address; empty for none.
    """
    cluster, disconnect = None, lambda: None
    if address.strip():
        try:
            cluster, disconnect = _connect(
                usable_address(address.strip()), prompt or {}, str(node_id), fingerprint, notes)
        except ClusterError as error:
            notes.append(error.reason)
    try:
        yield cluster
    finally:
        disconnect()


def _connect(address: str, prompt: dict[str, Any], node_id: str, fingerprint: str, notes: list[Reason],
             ) -> tuple[Cluster, Callable[[], None]]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report its use to its makers
    try:
        import ray
        import ray.util
    except ImportError:
        raise ClusterError("cluster_no_ray") from None
    if node_id not in prompt:
        raise ClusterError("cluster_failed", error="the node is not part of the queued workflow")
    shared = ray.is_initialized()
    try:
        if not shared:
            own = {"include_dashboard": False} if address == "local" else {}
            ray.init(address=address, log_to_driver=False, configure_logging=False, **own)
    except Exception as error:  # noqa: BLE001 (Ray raises Exception itself)
        raise ClusterError("cluster_unreachable", address=one_line(f"{address} ({_last_line(error)})")) from None

    def disconnect() -> None:
        try:
            cluster.close()
        finally:
            if not shared:
                ray.shutdown()

    folder = str(Path(folder_paths.__file__).parent)
    try:
        cluster = Cluster(ray, (folder, sys.argv[1:], needed_part(prompt, node_id), node_id, fingerprint), notes)
    except BaseException:
        if not shared:
            ray.shutdown()
        raise
    return cluster, disconnect
