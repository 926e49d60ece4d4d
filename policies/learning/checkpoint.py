"""What a training has computed so far, on disk, so that it goes on after a crash, a restart or a cancelled run.

Learning is deterministic given the costs of its rollouts, so they are all that is kept, a line each: a process that is
killed loses the rollout that it was at, and a torn last line is cut off. What uncached runs gave is kept in files that
are written whole or not at all.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..schedule import ScheduleError, explicit
from .environment import Environment, Memo

Note = Callable[[str], None]


class Checkpoint:
    """The folder of one training.

    Args:
        folder: made if it is not there; its name stands for everything that the costs depend on.
        note: called with one sentence for what is there and can't be used; it is computed again.
    """

    def __init__(self, folder: Path, note: Note = lambda sentence: None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._note = folder, note

    def memo(self, environment: Environment, name: str) -> Memo:
        """A Memo of `environment` that knows the costs stored under `name`, and stores every new one."""
        path = self.folder / f"{name}.jsonl"
        known = self._costs(path, environment)
        file = path.open("a", encoding="ascii")

        def record(computed: tuple[bool, ...], sample: int, cost: float) -> None:
            indices = [i for i, c in enumerate(computed) if c]
            file.write(json.dumps([indices, sample, cost]) + "\n")
            file.flush()

        return Memo(environment, known, record)

    def tensors(self, name: str) -> dict[str, torch.Tensor] | None:
        """What was stored under `name`, or None."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError):
            self._note(f"The checkpoint file {path.name} is damaged, so what it held is computed again.")
            return None

    def store(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Store tensors under `name`."""
        path = self.folder / f"{name}.safetensors"
        part = path.with_suffix(".part")
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)

    def forget(self, reason: str) -> None:
        """Delete what is stored, and say why."""
        self._note(reason)
        for path in self.folder.iterdir():
            path.unlink()

    def _costs(self, path: Path, environment: Environment) -> dict[tuple[tuple[bool, ...], int], float]:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return {}
        whole = content[: content.rfind(b"\n") + 1]
        try:
            known = dict(_entry(line, environment.n) for line in whole.splitlines())
        except (ValueError, TypeError, ScheduleError, RecursionError):
            self._note(f"The checkpoint file {path.name} is damaged, so what it held is computed again.")
            known, whole = {}, b""
        os.truncate(path, len(whole))
        return known


def _entry(line: bytes, n: int) -> tuple[tuple[tuple[bool, ...], int], float]:
    indices, sample, cost = json.loads(line)
    if type(sample) is not int or type(cost) is not float or not math.isfinite(cost):
        raise ValueError(line)
    return (explicit(", ".join(map(str, indices)), n).computed, sample), cost
