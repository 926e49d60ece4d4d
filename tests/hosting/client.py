"""A small client of ComfyUI's HTTP and websocket API: queue a workflow, wait for it, collect what came out."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import websocket
from PIL import Image


class PromptRejected(RuntimeError):
    """The server refused the workflow before it ran.

    Attributes:
        error: the server's overall error, ``{"type", "message", "details", ...}``.
        node_errors: node id -> that node's errors.
    """

    def __init__(self, answer: Mapping[str, Any]):
        self.error = answer.get("error") or {}
        self.node_errors = answer.get("node_errors") or {}
        details = [e.get("details", "") for node in self.node_errors.values() for e in node.get("errors", [])]
        super().__init__("; ".join([str(self.error.get("message", self.error)), *details]))


@dataclass
class Result:
    """What one queued workflow did.

    Attributes:
        prompt_id: the server's name for it.
        status: ``"running"``, then ``"success"``, ``"error"`` or ``"interrupted"``.
        outputs: node id -> the ui output of that node (``{"images": [...], "text": [...]}``), cached nodes included.
        executed: ids of the nodes that ran, in order.
        cached: ids of the nodes whose output was taken from the cache of an earlier run.
        texts: node id -> progress texts that the node sent while it ran.
        progress: ``(node id, value, max)`` in order, as a progress bar saw them.
        error: of a failed run: ``{"node_id", "node_type", "exception_type", "exception_message", "traceback"}``.
        seconds: from the start of the run to its end, as the client saw them.
    """

    prompt_id: str
    status: str = "running"
    outputs: dict[str, dict] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    progress: list[tuple[str, int, int]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    seconds: float = 0.0

    def check(self) -> Result:
        """Returns itself if the run succeeded, else raises RuntimeError with the node's message."""
        if self.status != "success":
            error = self.error or {}
            where = f" in {error.get('node_type')} (node {error.get('node_id')})" if error else ""
            raise RuntimeError(f"The workflow ended with {self.status}{where}: {error.get('exception_message', '')}")
        return self


class Client:
    """Talks to one server. Use it as a context manager, or call ``close()``."""

    def __init__(self, url: str, timeout: float = 600.0):
        """Connects to the server at ``url``; ``timeout`` is how many seconds a run may take."""
        self.url = url.rstrip("/")
        self.timeout = timeout
        self.client_id = uuid.uuid4().hex
        self._results: dict[str, Result] = {}
        self._started: dict[str, float] = {}
        self._finished: set[str] = set()
        address = f"{self.url.replace('http', 'ws', 1)}/ws?clientId={self.client_id}"
        self._socket = websocket.create_connection(address, timeout=30)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def get(self, path: str, **query: Any) -> Any:
        """GET with a JSON answer."""
        return json.loads(self._request(path, query=query))

    def post(self, path: str, payload: Any = None) -> Any:
        """POST of JSON; the JSON answer, or None if the answer is empty."""
        body = self._request(path, data=json.dumps(payload if payload is not None else {}).encode())
        return json.loads(body) if body else None

    def object_info(self, node: str | None = None) -> dict[str, Any]:
        """The descriptions of all node types, or of one (raises KeyError if the server does not know it)."""
        return self.get("/object_info") if node is None else self.get(f"/object_info/{node}")[node]

    def queue(self, prompt: Mapping[str, Mapping], extra_data: Mapping | None = None) -> str:
        """Queues a workflow in API format (node id -> ``{"class_type", "inputs"}``) and returns its id.

        Raises:
            PromptRejected: the server found the workflow invalid.
        """
        payload = {"prompt": prompt, "client_id": self.client_id, "extra_data": dict(extra_data or {})}
        try:
            prompt_id = self.post("/prompt", payload)["prompt_id"]
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            raise PromptRejected(json.loads(error.read())) from None
        self._result(prompt_id)
        return prompt_id

    def wait(self, prompt_id: str, timeout: float | None = None) -> Result:
        """Waits until a queued workflow has ended, well or badly; ``Result.status`` says which.

        Raises:
            TimeoutError: it took longer than ``timeout`` seconds.
        """
        self.receive(lambda: prompt_id in self._finished, timeout)
        result = self._results[prompt_id]
        # The events have no outputs of cached nodes; the history has all.
        history = self.get(f"/history/{prompt_id}").get(prompt_id, {})
        result.outputs = {**history.get("outputs", {}), **result.outputs}
        return result

    def run(self, prompt: Mapping[str, Mapping], extra_data: Mapping | None = None) -> Result:
        """Queues a workflow and waits until it has ended."""
        return self.wait(self.queue(prompt, extra_data))

    def progress_of(self, prompt_id: str) -> Result:
        """What is known so far of a queued workflow; ``receive`` brings it up to date."""
        return self._result(prompt_id)

    def receive(self, until, timeout: float | None = None) -> None:
        """Takes in the server's events until ``until()`` is true, e.g. to interrupt in the middle of a run.

        Raises:
            TimeoutError: that took longer than ``timeout`` seconds.
        """
        timeout = self.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        while not until():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"ComfyUI did not finish within {timeout:g} seconds.")
            self._socket.settimeout(left)
            try:
                message = self._socket.recv()
            except websocket.WebSocketTimeoutException:
                continue
            if isinstance(message, bytes):
                continue  # a preview picture
            if message:
                event = json.loads(message)
                self._on_event(event["type"], event.get("data") or {})
            else:
                raise ConnectionError("ComfyUI closed the connection.")

    def interrupt(self) -> None:
        """Stops the running workflow, as the cancel button does."""
        self._request("/interrupt", data=b"{}")

    def free(self) -> None:
        """Unloads all models and forgets all cached outputs before the next run."""
        self._request("/free", data=json.dumps({"unload_models": True, "free_memory": True}).encode())

    def image(self, reference: Mapping[str, str]) -> Image.Image:
        """Fetches a picture that an output names, ``{"filename", "subfolder", "type"}``."""
        image = Image.open(io.BytesIO(self.file(reference)))
        image.load()
        return image

    def file(self, reference: Mapping[str, str]) -> bytes:
        """Fetches a file that an output names likewise."""
        return self._request("/view", query=reference)

    def images(self, result: Result, node_id: str | None = None) -> list[Image.Image]:
        """All pictures of a result, or those of one node, in order."""
        outputs = result.outputs if node_id is None else {node_id: result.outputs.get(node_id, {})}
        return [self.image(reference) for ui in outputs.values() for reference in ui.get("images", [])]

    def upload(self, image: Image.Image, name: str) -> str:
        """Puts a picture into the server's input folder, for LoadImage; returns the name to load it by."""
        png = io.BytesIO()
        image.save(png, "PNG")
        boundary = uuid.uuid4().hex
        parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'.encode()]
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
        parts += [f"{head}Content-Type: image/png\r\n\r\n".encode(), png.getvalue(), f"\r\n--{boundary}--\r\n".encode()]
        content_type = f"multipart/form-data; boundary={boundary}"
        return json.loads(self._request("/upload/image", data=b"".join(parts), content_type=content_type))["name"]

    def _request(
        self, path: str, data: bytes | None = None, query: Mapping | None = None, content_type: str = "application/json"
    ) -> bytes:
        url = self.url + path + (f"?{urllib.parse.urlencode(query)}" if query else "")
        request = urllib.request.Request(url, data=data, headers={"Content-Type": content_type} if data else {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def _result(self, prompt_id: str) -> Result:
        return self._results.setdefault(prompt_id, Result(prompt_id))

    def _on_event(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "recache.text":
            self._on_text(data["node"], data["text"])
        prompt_id = data.get("prompt_id")
        if prompt_id is None:
            return
        result = self._result(prompt_id)
        if kind == "execution_start":
            self._started[prompt_id] = time.monotonic()
        elif kind == "execution_cached":
            result.cached = list(data["nodes"])
        elif kind == "progress":
            result.progress.append((str(data.get("node")), data["value"], data["max"]))
        elif kind == "executed":
            if data.get("output") is not None:
                result.outputs[data["node"]] = data["output"]
        elif kind == "execution_error":
            result.status, result.error = "error", dict(data)
        elif kind == "execution_interrupted":
            result.status = "interrupted"
        elif kind == "execution_success":
            result.status = "success"
        elif kind == "executing" and data.get("node") is not None:
            result.executed.append(data["node"])
        elif kind == "executing":  # no node: the run is over and its history is written
            result.seconds = time.monotonic() - self._started.get(prompt_id, time.monotonic())
            self._finished.add(prompt_id)

    def _on_text(self, node: str, text: str) -> None:
        running = [r for prompt_id, r in self._results.items() if prompt_id not in self._finished]
        if running:  # texts carry no prompt id, and the server runs one workflow at a time, in order
            running[0].texts.setdefault(node, []).append(text)
