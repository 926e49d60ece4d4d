"""The pack's one LRU cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Least recently used entries are dropped where all together exceed `capacity`.

    Args:
        capacity: most that the entries may weigh together.
        weigh: of a value; 1 each by default.

    Attributes:
        weight: of all entries together.
    """

    def __init__(self, capacity: float, weigh: Callable[[Value], float] = lambda value: 1):
        self.capacity = capacity
        self.weight = 0
        self._weigh = weigh
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable, default: Value | None = None) -> Value | None:
        """The value, which counts as used now, or `default`."""
        if key not in self._entries:
            return default
        self._entries.move_to_end(key)
        return self._entries[key]

    def put(self, key: Hashable, value: Value) -> list[Hashable]:
        """Store a value; the keys that were dropped for it."""
        if key in self._entries:
            self.weight -= self._weigh(self._entries.pop(key))
        self._entries[key] = value
        self.weight += self._weigh(value)
        dropped = []
        while self.weight > self.capacity:
            oldest, old = self._entries.popitem(last=False)
            self.weight -= self._weigh(old)
            dropped.append(oldest)
        return dropped

    def clear(self) -> None:
        """Drop every entry."""
        self._entries.clear()
        self.weight = 0
