"""What a run did: planned and real evaluations, seconds, memory, and the reasons for whatever was not as planned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median

import torch

from .lru import LruCache
from .reasons import Reason

MAX_CONFIGS = 32  # whose reports are stored
MAX_REPORTS = 8  # of each


@dataclass
class Report:
    """One sampling run under ReCache. Indices of evaluations are 0-based; seconds are the device's.

    Attributes:
        cache_point: "blocks", "output", or "none" where nothing was cached.
        cache_point_reason: why this one; None where the run was not planned.
        evaluations: N, what the sampler asked for.
        times: planned evaluation times in [0, 1].
        cfg, size: see RunSettings.
        planned: evaluations that were to be computed.
        computed: evaluations that were computed.
        prefix_hits: those among them that an earlier run with the same prefix had computed (see PrefixCache).
        unplanned: evaluation and reason, for each that was computed though it was to be cached.
        notes: whatever else the artist should know, such as why a run was not cached at all.
        cached_cost: what a cached evaluation is charged, as a share of a computed one.
        seconds: of every evaluation.
        finished: False if the run was cancelled or failed.
        samples: fingerprint of the latent that the run made.
    """

    mechanism: str
    order: int | None
    cache_point: str = "none"
    cache_point_reason: Reason | None = None
    evaluations: int = 0
    times: tuple[float, ...] = ()
    cfg: float | None = None
    size: tuple[int, ...] = ()
    planned: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    prefix_hits: list[int] = field(default_factory=list)
    unplanned: list[tuple[int, Reason]] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)
    cached_cost: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak_cache_bytes: int = 0
    finished: bool = False
    samples: bytes = field(default=b"", repr=False)

    def note(self, reason: Reason) -> None:
        """Add a note, unless it is there."""
        if reason not in self.notes:
            self.notes.append(reason)

    def add_computed(self, index: int, prefix_hit: bool, unplanned: Reason | None) -> None:
        """An evaluation was computed; `unplanned` is why, if it was to be cached."""
        self.computed.append(index)
        if prefix_hit:
            self.prefix_hits.append(index)
        if unplanned is not None:
            self.unplanned.append((index, unplanned))

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
        """Of all evaluations that were planned together, from the counts and the cached cost."""
        n, k = len(self.times), len(self.planned)
        return n / (k + (n - k) * self.cached_cost) if k else 1.0

    @property
    def measured_speedup(self) -> float | None:
        """Seconds that computing every evaluation would have taken (by the median computed one), over those taken.

        None where nothing was cached.
        """
        total = sum(self.seconds)
        if not total or self.seconds_computed is None or self.seconds_cached is None:
            return None
        return self.seconds_computed * len(self.seconds) / total

    @property
    def seconds_saved(self) -> float | None:
        """Seconds that computing every evaluation would have taken (see measured_speedup), less those taken."""
        if self.measured_speedup is None:
            return None
        return self.seconds_computed * len(self.seconds) - sum(self.seconds)

    def as_dict(self) -> dict:
        """Everything, ready for JSON."""
        values = asdict(self)
        del values["samples"]
        return values | {
            "seconds_computed": self.seconds_computed,
            "seconds_cached": self.seconds_cached,
            "planned_speedup": self.planned_speedup,
            "measured_speedup": self.measured_speedup,
        }


_reports: LruCache[list[Report]] = LruCache(MAX_CONFIGS)


def publish(identity: str, report: Report) -> None:
    """Store `report` under the identity of its CacheConfig."""
    _reports.put(identity, [*reports_of(identity), report][-MAX_REPORTS:])


def reports_of(identity: str) -> list[Report]:
    """The runs with these settings, oldest first."""
    return list(_reports.get(identity, ()))


def fingerprint(samples: torch.Tensor) -> bytes:
    """256 or so numbers of a latent, enough to tell it from others; b"" of anything else."""
    if not torch.is_tensor(samples) or samples.numel() == 0:
        return b""
    flat = samples.flatten()
    return flat[:: max(1, flat.numel() // 256)].to("cpu", torch.float32).numpy().tobytes()


def report_of(identity: str, samples: torch.Tensor) -> Report | None:
    """The run with these settings that made `samples`; the last one if that can't be told, None if there is none."""
    runs = reports_of(identity)
    made = fingerprint(samples)
    return next((run for run in reversed(runs) if run.samples == made), runs[-1] if runs else None)
