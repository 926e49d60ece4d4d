"""The checkpoint of a training on disk, from which it resumes after a crash, a restart or a cancelled run.

Learning is deterministic given the costs of its rollouts, so these are what is stored, one a line: a killed process
loses at most the current rollout, and what follows the last whole line is cut off. Results of uncached runs are stored
in files that are written atomically. Where nothing can be written, as on a full disk, the training goes on without.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
            again, or none can be stored.
    """

    def __init__(self, folder: Path, note: Note = lambda code, **fields: None):
        self.folder, self._note, self._writable = folder, note, True
        with self._writing():
            folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Something is written; what goes wrong is noted once."""
        try:
            yield
        except (OSError, SafetensorError) as error:
            if self._writable:
                self._note("checkpoint_unwritable", folder=str(self.folder), error=str(error))
            self._writable = False

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
        file = None
        with self._writing():
            file = path.open("ab", buffering=0)

        def record(computed: tuple[bool, ...], sample: int, cost: float) -> None:
            indices = [i for i, c in enumerate(computed) if c]
            line = json.dumps([indices, numbers[sample], cost]).encode("ascii") + b"\n"
            if self._writable:
                with self._writing():
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

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
        with self._writing():
            try:
                save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, part)
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise

    def clear(self, code: str) -> None:
        """Delete everything that is stored; the code says why."""
        self._note(code)
        with self._writing():
            for path in self.folder.iterdir():
                path.unlink()

    def _costs(self, path: Path, environment: Environment) -> dict[tuple[tuple[bool, ...], int], float]:
        try:
            content = path.read_bytes()
        except OSError:  # there is none, or what can't be read can't be written either
            return {}
        known, whole = {}, 0
        for line in content.split(b"\n")[:-1]:
            try:
                known.update([_entry(line, environment.n)])
            except (ValueError, TypeError, ScheduleError, RecursionError):
                self._note("checkpoint_damaged", file=path.name)
                break
            whole += len(line) + 1
        with self._writing():
            os.truncate(path, whole)
        return known


def _entry(line: bytes, n: int) -> tuple[tuple[tuple[bool, ...], int], float]:
    indices, sample, cost = json.loads(line)
    if type(sample) is not int or type(cost) is not float or not math.isfinite(cost):
        raise ValueError(line)
    return (explicit(", ".join(map(str, indices)), n).computed, sample), cost
