"""Times evaluations on the device."""

from __future__ import annotations

import time
from contextlib import contextmanager

import torch


class Clock:
    """Times evaluations, on CUDA and XPU by events: nothing waits for the device before the run ends."""

    def __init__(self, device: torch.device):
        self.device = device
        self.spans: list[tuple] = []
        self._backend = getattr(torch, device.type) if device.type in ("cuda", "xpu") else None

    def _now(self):
        if self._backend:
            event = self._backend.Event(enable_timing=True)
            event.record(self._backend.current_stream(self.device))
            return event
        if self.device.type == "mps":
            torch.mps.synchronize()  # else a cached evaluation would be waited for in a computed one
        return time.perf_counter()

    @contextmanager
    def span(self):
        """Time the ``with`` block, unless it raises."""
        start = self._now()
        yield
        self.spans.append((start, self._now()))

    def seconds(self) -> list[float]:
        """Seconds of every span; waits for the device."""
        if not self._backend:
            return [end - start for start, end in self.spans]
        self._backend.synchronize(self.device)
        return [start.elapsed_time(end) / 1000.0 for start, end in self.spans]
