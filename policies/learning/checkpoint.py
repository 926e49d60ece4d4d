"""The checkpoint of a training on disk, from which it resumes after a crash, a restart or a cancelled run.

Learning is deterministic given the costs of its rollouts, so these are what is stored, one a line: a killed process
loses at most the current rollout, and an incomplete last line is cut off. Results of uncached runs are stored in files
that are written atomically.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..schedule import ScheduleError, explicit
from .environment import Environment, Memo

Note = Callable[..., None]


class Checkpoint:
    """The folder of one training.

    Args:
        folder: made if it does not exist; one for each combination of everything that the costs depend on.
        note: called with a code, and what a sentence on it names, where stored results can't be used and are computed
            again.
    """

    def __init__(self, folder: Path, note: Note = lambda code, **fields: None):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._note = folder, note

    def memo(self, environment: Environment, name: str, numbers: Sequence[int] | None = None) -> Memo:
        """A Memo of `environment` with the costs stored under `name`; it stores every new one.

        Args:
            numbers: of the samples as they are stored; 0, 1, ... if not given.
        """
        path = self.folder / f"{name}.jsonl"
        numbers = range(environment.samples) if numbers is None else numbers
        places = {number: place for place, number in enumerate(numbers)}
        known = {(computed, places[number]): cost
                 for (computed, number), cost in self._costs(path, environment).items() if number in places}
        file = path.open("a", encoding="ascii")

        def record(computed: tuple[bool, ...], sample: int, cost: float) -> None:
            indices = [i for i, c in enumerate(computed) if c]
            file.write(json.dumps([indices, numbers[sample], cost]) + "\n")
            file.flush()

        return Memo(environment, known, record)

    def tensors(self, name: str) -> dict[str, torch.Tensor] | None:
        """The tensors stored under `name`, or None."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            return None
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError):
            self._note("checkpoint_damaged", file=path.name)
            return None

    def has(self, name: str) -> bool:
        """Whether tensors are stored under `name`."""
        return (self.folder / f"{name}.safetensors").exists()

    def store(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Store tensors under `name`, atomically."""
        path = self.folder / f"{name}.safetensors"
        part = path.with_suffix(".part")
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)

    def clear(self, code: str) -> None:
        """Delete everything that is stored; the code says why."""
        self._note(code)
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
            self._note("checkpoint_damaged", file=path.name)
            known, whole = {}, b""
        os.truncate(path, len(whole))
        return known


def _entry(line: bytes, n: int) -> tuple[tuple[tuple[bool, ...], int], float]:
    indices, sample, cost = json.loads(line)
    if type(sample) is not int or type(cost) is not float or not math.isfinite(cost):
        raise ValueError(line)
    return (explicit(", ".join(map(str, indices)), n).computed, sample), cost
