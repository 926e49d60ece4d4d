"""Python warnings kept from the console while something is only tried."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0
_filters: warnings.catch_warnings | None = None


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignores Python warnings while the ``with`` block lasts.

    The filters are the whole process's: of blocks that overlap on several threads the first one replaces them and the
    last one puts them back, which `warnings.catch_warnings` by itself would not do right.
    """
    global _inside, _filters
    with _lock:
        _inside += 1
        if _inside == 1:
            _filters = warnings.catch_warnings()
            _filters.__enter__()
            warnings.simplefilter("ignore")
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _filters.__exit__(None, None, None)
                _filters = None
