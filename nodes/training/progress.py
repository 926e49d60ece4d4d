"""The progress of a training on the page, and its end when the artist stops or cancels it."""

from __future__ import annotations

import time

import comfy.model_management
import comfy.utils

from ...policies.learning.elites import mean_gain
from ..server.training_state import TrainingMonitor
from .request import Progress, Request


def shown_on(monitor: TrainingMonitor, bar: comfy.utils.ProgressBar, request: Request) -> Progress:
    """Callbacks that show a training on its node, and raise the host's exception once its prompt is cancelled."""
    started = time.monotonic()

    def phase(name: str, part: int, parts: int) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        monitor.update(phase=name, part=part, parts=parts)

    def on_rollout(evaluations: int, gains: dict[int, float], curve: list[tuple[int, float]], n: int) -> None:
        now = time.monotonic()
        limits = [60.0 * request.minutes - (now - started)] if request.minutes else []
        if 100 * evaluations > request.evaluations:
            limits.append((now - started) * (request.evaluations / evaluations - 1.0))
        left = min(limits, default=None)
        over = monitor.stopped() or (left is not None and left <= 0.0)
        sent = monitor.update(
            phase="choosing" if over else "search", evaluations=evaluations, gain=mean_gain(gains), curve=tuple(curve),
            budgets=tuple((k, n, gain) for k, gain in gains.items()),
            seconds_left=None if over else left)
        if sent:
            bar.update_absolute(min(999, 1000 * evaluations // request.evaluations))

    return Progress(phase, on_rollout, monitor.stopped)
