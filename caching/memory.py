"""Recognises that memory ran out, on every device."""

from __future__ import annotations

import comfy.model_management
import torch

# Of CUDA's and HIP's errors that are no OutOfMemoryError, of cuBLAS and cuDNN, of XPU, NPU, MPS and DirectML, and of
# the CPU's allocator on every system.
_MESSAGES = (
    "out of memory", "out_of_memory", "out_of_device_memory", "out_of_host_memory", "out_of_resources", "alloc_failed",
    "allocation_failed", "can't allocate memory", "cannot allocate memory", "not enough memory",
    "not enough gpu video memory")


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory could not be allocated: the host says so, or its message does."""
    management = comfy.model_management
    known = management.OOM_EXCEPTION  # Exception, where torch has none of its own
    is_oom = getattr(management, "is_oom", lambda error: isinstance(error, known))  # it also clears CUDA's error
    if known is not Exception and is_oom(error):
        return True
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(message in str(error).lower() for message in _MESSAGES))


def read(tensor: torch.Tensor, index: int = 0) -> float:
    """A number of a tensor. It waits for the device, which may then report that memory ran out before: once more."""
    try:
        return float(tensor.flatten()[index])
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    return float(tensor.flatten()[index])
