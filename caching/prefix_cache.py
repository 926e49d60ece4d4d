"""LRU cache of network outputs, keyed by their input: runs with a common prefix compute it once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch

from .block_mapping import Stack
from .history import Features
from .lru import LruCache
from .plan import Plan


def cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in main memory, exact to the bit."""
    return tensor.detach().to("cpu", copy=True)


def cache_key(x: torch.Tensor, timestep: torch.Tensor, conds: Hashable) -> tuple:
    """Of the network's input, to the bit, the noise levels, and whatever tells `conds` from others."""
    raw = x.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy()
    return blake2b(raw, digest_size=16).digest(), tuple(x.shape), tuple(timestep.flatten().tolist()), conds


@dataclass(frozen=True)
class CacheEntry:
    """What one computed call leaves, in main memory.

    Attributes:
        outs: the host's predictions: denoised, one [batch, channels, ...] a cond.
        plan: of the run; its cache point holds for every run of these settings.
        stack: the model's blocks, at the cache point `blocks`.
        features: likewise, residuals already where the mechanism is one of residuals.
    """

    outs: list[torch.Tensor]
    plan: Plan
    stack: Stack
    features: Sequence[Features]

    @property
    def bytes(self) -> int:
        """Memory held."""
        tensors = [*self.outs, *(t for f in self.features for t in (f.feature, f.probe) if t is not None)]
        return sum(t.numel() * t.element_size() for t in tensors)


class PrefixCache:
    """Entries of runs with one model and settings, whose mechanisms cache the same features; its owner clears it.

    Args:
        max_bytes: of main memory that entries may take.

    Attributes:
        recomputed: entries that had to be computed again, because they had been dropped.
    """

    def __init__(self, max_bytes: int):
        self.recomputed = 0
        self._entries: LruCache[CacheEntry] = LruCache(max_bytes, lambda entry: entry.bytes)
        self._dropped: set[Hashable] = set()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Memory held."""
        return self._entries.weight

    def get(self, key: tuple) -> CacheEntry | None:
        """The entry under this key (see `cache_key`), or None."""
        return self._entries.get(key)

    def put(self, key: tuple, entry: CacheEntry) -> None:
        """Store an entry; those that were used least recently make place."""
        self.recomputed += key in self._dropped
        self._dropped.update(self._entries.put(key, entry))

    def clear(self) -> None:
        """Free everything."""
        self._entries.clear()
        self._dropped.clear()
