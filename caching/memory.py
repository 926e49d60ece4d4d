"""Recognises that memory ran out, on every device."""

from __future__ import annotations

from contextlib import contextmanager

import comfy.model_management
import torch

# In CUDA's AcceleratorError, and in the RuntimeErrors of MPS and the CPU allocator.
_MESSAGES = ("out of memory", "out_of_device_memory", "can't allocate memory", "not enough memory")


class OutOfMemory(Exception):
    """Memory ran out in ReCache's own work, and not in the host's: the evaluation is computed without caching."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory could not be allocated."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if not (isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES)):
        return False
    host = getattr(comfy.model_management, "is_oom", None)
    if host is not None:
        host(error)  # it also clears CUDA's pending error
    return True


@contextmanager
def own_work():
    """Raise OutOfMemory where memory runs out in the ``with`` block.

    Raises:
        OutOfMemory: in place of the allocator's own exception.
    """
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            raise OutOfMemory from None
        raise
