"""Copies a sampler, so that a dry run does not change the artist's own."""

from __future__ import annotations

import io
import pickle
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, ModuleType
from typing import Any

import torch
from comfy.model_patcher import ModelPatcher

_SHARED = (type, CodeType, BuiltinFunctionType, ModuleType, ModelPatcher, torch.nn.Module)


def copy_sampler(sampler, seed: int):
    """A deep copy, also of closures; its random generators are seeded with `seed`.

    Types, modules, models and functions without a closure are shared: they hold no state, or are too large to copy. A
    sampler that can't be copied is returned as it is.
    """
    file = io.BytesIO()
    try:
        pickler = _Pickler(file, seed)
        pickler.dump(sampler)
        file.seek(0)
        return _Unpickler(file, pickler.kept).load()
    except Exception:  # noqa: BLE001  it holds a lock, a file, a running generator or anything else of another pack
        return sampler


def _function(code: CodeType, module: _Globals, closure: tuple[CellType, ...]) -> FunctionType:
    return FunctionType(code, module.names, closure=closure)


class _Globals:
    """The globals of a function's module; shared."""

    def __init__(self, names: dict[str, Any]):
        self.names = names


class _Pickler(pickle.Pickler):
    """Pickles state; what is shared or handled here is put into `kept`, and pickled as its index there."""

    def __init__(self, file, seed: int):
        super().__init__(file, protocol=5)
        self.seed = seed
        self.kept: list[Any] = []
        self._numbers: dict[int, int] = {}
        self._alive: list[Any] = []  # keeps the ids in `_numbers` unique

    def persistent_id(self, thing):
        if id(thing) in self._numbers:
            return self._numbers[id(thing)]
        if isinstance(thing, torch.Generator):
            kept = torch.Generator(thing.device).manual_seed(self.seed)
        elif type(thing) is torch.Tensor:
            kept = thing.clone()
        elif isinstance(thing, (*_SHARED, _Globals)) or (isinstance(thing, FunctionType) and not thing.__closure__):
            kept = thing
        else:
            return None
        self._alive.append(thing)
        self.kept.append(kept)
        self._numbers[id(thing)] = len(self.kept) - 1
        return self._numbers[id(thing)]

    def reducer_override(self, thing):
        if isinstance(thing, FunctionType):
            state = {"__defaults__": thing.__defaults__, "__kwdefaults__": thing.__kwdefaults__,
                     "__name__": thing.__name__, **thing.__dict__}
            return _function, (thing.__code__, _Globals(thing.__globals__), thing.__closure__), (None, state)
        if isinstance(thing, CellType):
            try:
                return CellType, (thing.cell_contents,)
            except ValueError:  # empty
                return CellType, ()
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, kept: list[Any]):
        super().__init__(file)
        self.kept = kept

    def persistent_load(self, number):
        return self.kept[number]
