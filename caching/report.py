"""What a run did: planned and real evaluations, seconds, memory, and the reasons for whatever was not as planned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from math import inf, isnan
from statistics import median

import torch

from .latent_parts import parts_of
from .lru import LruCache
from .reasons import Reason

MAX_CONFIGS = 32  # whose reports are stored
MAX_REPORTS = 8  # of each
TOLERANCE = 1e-3  # between a latent and the same in half precision, or as a sampler's second output


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
        scheduled: those that the schedule chose: `planned` before any were moved or added.
        computed: evaluations that were computed.
        prefix_hits: those among them that an earlier run with the same prefix had computed (see PrefixCache).
        unplanned: evaluation and reason, for each that was computed though it was to be cached.
        notes: whatever else the artist should know, such as why a run was not cached at all.
        cached_cost: what a cached evaluation is charged, as a share of a computed one.
        seconds: of every evaluation.
        finished: False if the run was cancelled or failed.
        leftover: the noise level that the latent still has; 0 if it is done.
        parts: of several samplers' work on one latent the report of each, in order; else empty (see `joined`).
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
    scheduled: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    prefix_hits: list[int] = field(default_factory=list)
    unplanned: list[tuple[int, Reason]] = field(default_factory=list)
    notes: list[Reason] = field(default_factory=list)
    cached_cost: float = 0.0
    seconds: list[float] = field(default_factory=list)
    peak_cache_bytes: int = 0
    finished: bool = False
    leftover: float = 0.0
    parts: tuple[Report, ...] = ()
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
        if not self.planned:
            return 1.0
        parts = self.parts or (self,)
        return sum(part._asked for part in parts) / sum(part._planned_cost for part in parts)

    @property
    def _asked(self) -> int:
        """Evaluations that were planned together; those that the sampler asked for where none were planned."""
        return len(self.times) or self.evaluations

    @property
    def _planned_cost(self) -> float:
        """Of one sampler's evaluations, in computed ones."""
        n = self._asked
        k = len(self.planned) or n
        return k + (n - k) * self.cached_cost

    @property
    def seconds_uncached(self) -> float | None:
        """Seconds that computing every evaluation would have taken, by the median computed one of each sampler."""
        if self.parts:
            seconds = [part.seconds_uncached for part in self.parts]
            return None if None in seconds else sum(seconds)
        return None if self.seconds_computed is None else self.seconds_computed * len(self.seconds)

    @property
    def measured_speedup(self) -> float | None:
        """`seconds_uncached` over the seconds taken; None where nothing was cached."""
        total = sum(self.seconds)
        if not total or self.seconds_uncached is None or self.seconds_cached is None:
            return None
        return self.seconds_uncached / total

    @property
    def seconds_saved(self) -> float | None:
        """`seconds_uncached` less the seconds taken; None where nothing was cached."""
        return None if self.measured_speedup is None else self.seconds_uncached - sum(self.seconds)

    def as_dict(self) -> dict:
        """Everything, ready for JSON."""
        values = asdict(replace(self, parts=()))
        del values["samples"]
        return values | {
            "parts": [part.as_dict() for part in self.parts],
            "seconds_computed": self.seconds_computed,
            "seconds_cached": self.seconds_cached,
            "planned_speedup": self.planned_speedup,
            "measured_speedup": self.measured_speedup,
        }


def joined(first: Report, second: Report) -> Report:
    """The report on two runs as if they were one: `second` has continued the latent of `first`.

    What can't be of both is of the one that cached: mechanism, cache point and the cost of a cached evaluation; cfg and
    size are the first one's.
    """
    start = first.evaluations

    def later(reason: Reason) -> Reason:
        index = {"index": reason.fields["index"] + start} if "index" in reason.fields else {}
        return Reason(reason.code, {**reason.fields, **index})

    def chosen(name: str) -> list[int]:
        first_part, second_part = (getattr(report, name) or range(report.evaluations) for report in (first, second))
        return [*first_part, *(index + start for index in second_part)] if first.planned or second.planned else []

    def indices(name: str) -> list[int]:
        return [*getattr(first, name), *(index + start for index in getattr(second, name))]

    both = replace(
        first if second.cache_point == "none" else second, evaluations=start + second.evaluations,
        times=first.times + second.times, cfg=first.cfg, size=first.size,
        planned=chosen("planned"), scheduled=chosen("scheduled"),
        computed=indices("computed"), prefix_hits=indices("prefix_hits"),
        unplanned=[*first.unplanned, *((index + start, later(reason)) for index, reason in second.unplanned)],
        notes=list(first.notes), seconds=first.seconds + second.seconds,
        peak_cache_bytes=max(first.peak_cache_bytes, second.peak_cache_bytes), finished=second.finished,
        leftover=second.leftover, samples=second.samples, parts=(*(first.parts or (first,)), second))
    for note in second.notes:
        both.note(later(note))
    return both


_reports: LruCache[list[Report]] = LruCache(MAX_CONFIGS)


def publish(identity: str, report: Report) -> None:
    """Store `report` under the identity of its CacheConfig."""
    _reports.put(identity, [*reports_of(identity), report][-MAX_REPORTS:])


def reports_of(identity: str) -> list[Report]:
    """The runs with these settings, oldest first."""
    return list(_reports.get(identity, ()))


def fingerprint(samples) -> bytes:
    """Up to 8,192 numbers of a latent, enough to tell it from others; b"" of anything else.

    The parts of a nested latent, such as video and audio, are packed as the host packs them for its samplers.
    """
    parts = parts_of(samples)
    if not all(torch.is_tensor(part) and part.numel() for part in parts):
        return b""
    flat = torch.cat([part.reshape(len(part), -1) for part in parts], -1).flatten()
    return flat[:: -(-flat.numel() // 8192)].to("cpu", torch.float32).numpy().tobytes()


def report_of(identity: str, samples) -> Report | None:
    """The run with these settings that made the latent `samples`; None if there is none."""
    made = fingerprint(samples)
    runs = [(_difference(run.samples, made), run) for run in reversed(reports_of(identity))]
    nearest, run = min(runs, key=lambda pair: pair[0], default=(inf, None))
    return run if nearest <= TOLERANCE else None


def _difference(first: bytes, second: bytes) -> float:
    """The largest between two fingerprints, as a share of the largest number; inf of different latents' sizes."""
    if not first or len(first) != len(second):
        return inf
    if first == second:
        return 0.0
    a, b = (torch.frombuffer(bytearray(numbers), dtype=torch.float32) for numbers in (first, second))
    difference = float((a - b).abs().max() / a.abs().max())
    return inf if isnan(difference) else difference
