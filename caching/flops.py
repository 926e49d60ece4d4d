"""Counts floating-point operations, to find what a cached evaluation costs."""

from __future__ import annotations

from contextlib import contextmanager

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry


class FlopMeter(TorchDispatchMode):
    """Counts the operations of matrix products, convolutions and attention while it is entered and not paused.

    A dispatch mode slows every operation, so `paused` removes it where nothing is counted.
    """

    def __init__(self):
        super().__init__()
        self.flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        count = flop_registry.get(func._overloadpacket)
        if count is None:
            with self:  # under inference mode, composite operations such as linear arrive undecomposed
                out = func.decompose(*args, **kwargs)
            return func(*args, **kwargs) if out is NotImplemented else out
        out = func(*args, **kwargs)
        self.flops += count(*args, **kwargs, out_val=out)
        return out

    @contextmanager
    def paused(self):
        """Count nothing in the ``with`` block; call it only while entered."""
        self.__exit__(None, None, None)
        try:
            yield
        finally:
            self.__enter__()
