"""The pack's one LRU cache."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LruCache(Generic[Value]):
    """Evicts the least recently used entries while their total weight exceeds `capacity`. Threads may share it.

    Args:
        capacity: maximum total weight.
        weigh: weight of a value; 1 by default, so that `capacity` is a number of entries.

    Attributes:
        weight: total weight of the entries.
    """

    def __init__(self, capacity: float, weigh: Callable[[Value], float] = lambda value: 1):
        self.capacity = capacity
        self.weight = 0
        self._weigh = weigh
        self._entries: OrderedDict[Hashable, Value] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    def get(self, key: Hashable, default: Value | None = None) -> Value | None:
        """The value, now the most recently used one, or `default`."""
        with self._lock:
            if key not in self._entries:
                return default
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: Hashable, value: Value) -> list[Hashable]:
        """Store a value; return the keys of the evicted ones."""
        evicted = []
        with self._lock:
            if key in self._entries:
                self.weight -= self._weigh(self._entries.pop(key))
            self._entries[key] = value
            self.weight += self._weigh(value)
            while self.weight > self.capacity:
                oldest, old = self._entries.popitem(last=False)
                self.weight -= self._weigh(old)
                evicted.append(oldest)
        return evicted

    def clear(self) -> None:
        """Remove every entry."""
        with self._lock:
            self._entries.clear()
            self.weight = 0
