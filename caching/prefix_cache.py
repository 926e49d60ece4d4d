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
    """An exact copy in main memory."""
    return tensor.detach().to("cpu", copy=True)


def cache_key(x: torch.Tensor, timestep: torch.Tensor, conds: Hashable) -> tuple:
    """The key of a call: a hash of its exact input, its noise levels, and the identity of its conds."""
    raw = x.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy()
    return blake2b(raw, digest_size=16).digest(), tuple(x.shape), tuple(timestep.flatten().tolist()), conds


@dataclass(frozen=True)
class CacheEntry:
    """The results of one computed call, in main memory.

    Attributes:
        outs: the host's predictions: denoised, [batch, channels, ...] for every list of conds.
        plan: of the run; its cache point holds for every run with these settings.
        stack: the model's blocks, at the cache point `blocks`.
        features: at the cache point `blocks`, with residuals for residual mechanisms.
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
    """Computed calls of runs that share the model, the settings and the kind of features; its owner clears it.

    Args:
        max_bytes: main memory that entries may take.

    Attributes:
        recomputed: how many entries were computed again after they had been evicted.
    """

    def __init__(self, max_bytes: int):
        self.recomputed = 0
        self._entries: LruCache[CacheEntry] = LruCache(max_bytes, lambda entry: entry.bytes)
        self._evicted: set[Hashable] = set()

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
        """Store an entry; the least recently used ones are evicted."""
        self.recomputed += key in self._evicted
        self._evicted.update(self._entries.put(key, entry))

    def clear(self) -> None:
        """Free everything."""
        self._entries.clear()
        self._evicted.clear()
