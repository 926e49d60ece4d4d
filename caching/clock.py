"""Times evaluations on the device."""

from __future__ import annotations

import time
from contextlib import contextmanager

import torch


class Clock:
    """Times evaluations, on CUDA by events: nothing waits for the device before the run ends."""

    def __init__(self, device: torch.device):
        self.cuda = device.type == "cuda"
        self.spans: list[tuple] = []

    def _now(self):
        if not self.cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    @contextmanager
    def span(self):
        """Time the ``with`` block, unless it raises."""
        start = self._now()
        yield
        self.spans.append((start, self._now()))

    def seconds(self) -> list[float]:
        """Seconds of every span; waits for the device."""
        if not self.cuda:
            return [end - start for start, end in self.spans]
        torch.cuda.synchronize()
        return [start.elapsed_time(end) / 1000.0 for start, end in self.spans]
