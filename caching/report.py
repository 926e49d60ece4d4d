"""What a run did: planned and real evaluations, seconds, memory, and the reasons for whatever was not as planned."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, field
from statistics import median

import torch

KEPT = 32  # settings whose reports are remembered
RUNS = 8  # reports remembered of each


@dataclass
class Report:
    """One sampling run under ReCache. Numbers of evaluations are 0-based; seconds are the device's.

    Attributes:
        evaluations: N, what the sampler asked for.
        times: planned evaluation times in [0, 1].
        planned: evaluations that were to be computed.
        computed: evaluations that were computed.
        recalled: those among them that an earlier run with the same beginning had computed (see answers).
        unplanned: evaluation and reason, for each that was computed though it was to be cached.
        notes: sentences on whatever else the artist should know, such as why a run was not cached at all.
        cached_cost: what a cached evaluation is charged, as a share of a computed one.
        seconds: of every evaluation.
        finished: False if the run was cancelled or failed.
        samples: fingerprint of the latent that the run made.
    """

    mechanism: str
    order: int | None
    cache_point: str
    cache_point_reason: str
    evaluations: int = 0
    times: tuple[float, ...] = ()
    planned: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    recalled: list[int] = field(default_factory=list)
    unplanned: list[tuple[int, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cached_cost: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak_cache_bytes: int = 0
    finished: bool = False
    samples: bytes = field(default=b"", repr=False)

    @property
    def seconds_computed(self) -> float | None:
        """Median seconds of a computed evaluation."""
        return self._median(set(self.computed))

    @property
    def seconds_cached(self) -> float | None:
        """Median seconds of a cached evaluation."""
        return self._median(set(range(self.evaluations)) - set(self.computed))

    def _median(self, chosen: set[int]) -> float | None:
        values = [self.seconds[i] for i in chosen if i < len(self.seconds)]
        return median(values) if values else None

    @property
    def planned_speedup(self) -> float:
        """Of all evaluations together, from the counts and the cached cost."""
        n, k = self.evaluations, len(self.planned)
        return n / (k + (n - k) * self.cached_cost) if k else 1.0

    @property
    def measured_speedup(self) -> float | None:
        """Seconds that computing every evaluation would have taken (by the median computed one), over those taken."""
        total = sum(self.seconds)
        if not total or self.seconds_computed is None:
            return None
        return self.seconds_computed * len(self.seconds) / total

    @property
    def seconds_saved(self) -> float | None:
        """Seconds that computing every evaluation would have taken (see measured_speedup), less those taken."""
        if self.measured_speedup is None:
            return None
        return self.seconds_computed * len(self.seconds) - sum(self.seconds)

    @property
    def summary(self) -> str:
        """One line for the node."""
        if not self.planned:
            return f"all {self.evaluations} computed: {' '.join(self.notes) or 'nothing was cached.'}"
        line = f"{len(self.computed)} of {self.evaluations} computed, planned {self.planned_speedup:.1f}x"
        if self.measured_speedup is not None:
            line += f", measured {self.measured_speedup:.1f}x"
        if self.unplanned:
            line += f" ({len(self.unplanned)} unplanned)"
        return line if self.finished else line + ", stopped early"

    @property
    def remarks(self) -> list[str]:
        """The notes that the summary does not hold already."""
        return self.notes if self.planned else []

    def as_dict(self) -> dict:
        """Everything, ready for JSON."""
        values = asdict(self)
        del values["samples"]
        return values | {
            "seconds_computed": self.seconds_computed,
            "seconds_cached": self.seconds_cached,
            "planned_speedup": self.planned_speedup,
            "measured_speedup": self.measured_speedup,
            "summary": self.summary,
        }


_reports: OrderedDict[str, list[Report]] = OrderedDict()


def publish(identity: str, report: Report) -> None:
    """Keep `report` under the settings that it ran with."""
    runs = _reports.setdefault(identity, [])
    runs.append(report)
    del runs[:-RUNS]
    _reports.move_to_end(identity)
    while len(_reports) > KEPT:
        _reports.popitem(last=False)


def reports_of(identity: str) -> list[Report]:
    """The runs with these settings, oldest first."""
    return list(_reports.get(identity, ()))


def fingerprint(samples: torch.Tensor) -> bytes:
    """A few numbers of a latent, enough to tell it from others; of anything else, nothing."""
    if not torch.is_tensor(samples) or samples.numel() == 0:
        return b""
    flat = samples.flatten()
    return flat[:: max(1, flat.numel() // 256)].to("cpu", torch.float32).numpy().tobytes()


def report_of(identity: str, samples: torch.Tensor) -> Report | None:
    """The run with these settings that made `samples`; the last one if that can't be told, None if there is none."""
    runs = reports_of(identity)
    made = fingerprint(samples)
    return next((run for run in reversed(runs) if run.samples == made), runs[-1] if runs else None)
