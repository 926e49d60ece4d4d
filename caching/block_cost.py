"""What a network's blocks cost, and what is left of an evaluation that skips them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import comfy.model_management
import torch
from torch._dynamo import OptimizedModule

from .block_mapping import BlockMapping, Stack, tokens_of
from .flops import FlopMeter
from .host_calls import NetworkCall


def is_compiled(module) -> bool:
    """Whether torch.compile made this module."""
    return isinstance(module, OptimizedModule)


class BlockCost:
    """Counts, while it is entered, the operations outside of blocks and of the first block of every kind.

    The first block stands for its kind.
    """

    def __init__(self):
        self._meter = FlopMeter()
        self._entered = False
        self.kinds: dict[str, int] = {}

    def __enter__(self):
        self._entered = True
        self._meter.__enter__()
        return self

    def __exit__(self, *exception):
        self._entered = False
        self._meter.__exit__(*exception)

    def count(self, key: tuple, block: Callable[[], dict]) -> dict:
        """What the block of this key returns."""
        kind = key[0]
        if not self._entered:
            return block()
        if kind in self.kinds:
            with self._meter.paused():
                return block()
        before = self._meter.flops
        out = block()
        self.kinds[kind] = self._meter.flops - before
        return out

    def stack(self, keys: Sequence[tuple]) -> Stack:
        """The stack of the blocks of these keys."""
        in_blocks = sum(self.kinds.get(key[0], 0) for key in keys)
        if not in_blocks:  # not counted, or operations that can't be, such as quantised ones
            return Stack(keys[-1], 0.0, 1.0 / len(keys))
        total = self._meter.flops - sum(self.kinds.values()) + in_blocks
        return Stack(keys[-1], 1.0 - in_blocks / total, self.kinds[keys[0][0]] / total)


class _Count(BlockMapping):
    """A call for its operations alone: the first block of every kind is computed, the others return their input."""

    skips = True

    def __init__(self, others: dict, cost: BlockCost):
        super().__init__(others)
        self.cost = cost

    def run(self, key, args, compute):
        if key[0] in self.cost.kinds:
            return tokens_of(args)
        return self.cost.count(key, lambda: compute(args))


def count_compiled(call: NetworkCall, cost: BlockCost) -> None:
    """Count a call of a network with compiled blocks, which no operations can be counted in while they are computed.

    So it is made once more without compilation, for a cached evaluation's cost and that of one block of every kind. A
    torch that can't do so, or blocks that fail without compilation, leave it uncounted.
    """
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None:
        return
    try:
        with set_stance("force_eager"), cost:
            call.run(_Count(call.other_patches, cost))
    except comfy.model_management.InterruptProcessingException:
        raise
    except Exception:  # noqa: BLE001  they may also need more memory; the run is as good without
        cost.kinds.clear()
