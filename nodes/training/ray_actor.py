"""A worker of a Ray cluster: ComfyUI without a page, which executes a prompt up to ReCache Train.

Ray carries this module to the worker as it is, so it imports nothing of the pack before ComfyUI has loaded it there.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

PROMPT_ID = "recache-worker"


class Actor:
    """See worker.Worker.

    Args:
        comfyui: ComfyUI's folder; the environment variable COMFYUI_PATH of the worker's machine goes before it.
        arguments: that ComfyUI was started with.
        prompt: in API format; its node `node_id` is ReCache Train.
        fingerprint: see worker.Worker.
    """

    def __init__(self, comfyui: str, arguments: list[str], prompt: dict[str, Any], node_id: str, fingerprint: str):
        self._streams = sys.stdout, sys.stderr  # ComfyUI replaces them; without a reference their files would close
        server = start_comfyui(os.environ.get("COMFYUI_PATH") or comfyui, arguments)
        nodes = importlib.import_module("nodes")
        package = nodes.NODE_CLASS_MAPPINGS[prompt[node_id]["class_type"]].__module__.rpartition(".")[0]
        worker = importlib.import_module(f"{package}.training.worker")
        worker.Handover.received = {}
        execute(server, prompt, node_id)
        self._worker = worker.Worker(fingerprint)

    def ready(self) -> bool:
        """Answers once the worker has been made."""
        return True

    def reference(self, *task: Any) -> tuple[Any, Any]:
        """The task, and its result."""
        return task, self._worker.reference(*task)

    def costs(self, job: dict[str, Any], name: str, rollouts: list[tuple]) -> tuple[Any, Any]:
        """The name and the rollouts, and their costs."""
        return (name, rollouts), self._worker.costs(name, job, rollouts)


def start_comfyui(folder: str, arguments: list[str]) -> Any:
    """ComfyUI in this process, which listens to nothing; its own server object."""
    sys.path.insert(0, folder)
    temporary = tempfile.mkdtemp(prefix="recache-worker-")  # ComfyUI empties its temporary folder as it starts
    sys.argv = [str(Path(folder, "main.py")), *arguments, "--temp-directory", temporary,
                "--database-url", "sqlite:///:memory:", "--disable-auto-launch"]
    return importlib.import_module("main").start_comfyui()[1]


def execute(server: Any, prompt: dict[str, Any], node_id: str) -> None:
    """Execute the prompt up to the node, by ComfyUI's own executor.

    Raises:
        ValueError: ComfyUI could not; the message says why.
    """
    execution = importlib.import_module("execution")
    valid, error, outputs, node_errors = asyncio.run(execution.validate_prompt(PROMPT_ID, prompt, [node_id]))
    if not valid or node_errors:
        raise ValueError(f"ComfyUI refused the workflow there: {error or node_errors}")
    executor = execution.PromptExecutor(server, cache_type=execution.CacheType.CLASSIC,
                                        cache_args={"lru": 0, "ram": 0.0, "ram_inactive": 0.0})
    executor.execute(prompt, PROMPT_ID, {}, outputs)
    failed = [message for event, message in executor.status_messages if event == "execution_error"]
    if failed:
        raise ValueError(f"{failed[0]['node_type']}: {failed[0]['exception_message'].strip()}")
