"""Counts floating-point operations, to charge a cached evaluation what it really costs."""

from __future__ import annotations

from contextlib import contextmanager

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopMeter(TorchDispatchMode):
    """Adds up the operations of matrix products, convolutions and attention while it is entered and not paused.

    A dispatch mode slows every operation, so `paused` takes it off where nothing is to be counted.
    """

    def __init__(self):
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        count = flop_registry.get(func._overloadpacket)
        if count is None:
            with self:  # under inference mode, compositions such as linear come whole
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.flops += count(*args, **kwargs, out_val=out)
        return out

    @contextmanager
    def paused(self):
        """Count nothing inside; only while entered."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()
