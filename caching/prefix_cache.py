"""What the network answered in earlier runs, by what it was asked: runs that begin alike need not ask it again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from hashlib import blake2b

import torch

from .block_cache import Stack


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """A copy in main memory, exact to the bit."""
    return tensor.detach().to("cpu", copy=True)


def cache_key(x: torch.Tensor, timestep: torch.Tensor, conds: Hashable) -> tuple:
    """What the network is asked: its input, to the bit, the noise levels, and whatever tells `conds` from others."""
    raw = x.detach().to("cpu").contiguous().flatten().view(torch.uint8).numpy()
    return blake2b(raw, digest_size=16).digest(), tuple(x.shape), tuple(timestep.flatten().tolist()), conds


@dataclass(frozen=True)
class CacheEntry:
    """The host's predictions for a list of conds, and what a computed evaluation leaves for forecasts.

    Attributes:
        outs: denoised, one [batch, channels, ...] a cond.
        reason: why the run took its cache point.
        stack: what the run knew of the model's blocks, None at the cache point `output`.
        features: {history: (feature, probe or None)} at the cache point `blocks`.
    """

    outs: list[torch.Tensor]
    reason: str
    stack: Stack | None = None
    features: dict[tuple, tuple[torch.Tensor, torch.Tensor | None]] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """Memory held."""
        tensors = [*self.outs, *(t for pair in self.features.values() for t in pair if t is not None)]
        return sum(t.numel() * t.element_size() for t in tensors)


class PrefixCache:
    """The answers used last, for runs with the same model and settings; whoever made it clears it.

    Args:
        most_bytes: of main memory that they may take.

    Attributes:
        bytes: that they take.
        again: how many had to be computed again, because there was no memory to keep them.
    """

    def __init__(self, most_bytes: int):
        self.most_bytes = most_bytes
        self.bytes = self.again = 0
        self._kept: OrderedDict[tuple, CacheEntry] = OrderedDict()
        self._dropped: set[tuple] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, asked: tuple) -> CacheEntry | None:
        """The answer to a question (see `cache_key`), if it is kept."""
        answer = self._kept.get(asked)
        if answer is not None:
            self._kept.move_to_end(asked)
        return answer

    def put(self, asked: tuple, answer: CacheEntry) -> None:
        """Keep an answer, at the expense of those that were not used for longest."""
        self.again += asked in self._dropped
        self._kept[asked] = answer
        self.bytes += answer.bytes
        while self.bytes > self.most_bytes:
            oldest, dropped = self._kept.popitem(last=False)
            self._dropped.add(oldest)
            self.bytes -= dropped.bytes

    def clear(self) -> None:
        """Free everything."""
        self._kept.clear()
        self._dropped.clear()
        self.bytes = 0
