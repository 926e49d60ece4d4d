"""How a model is to be cached."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np

from . import mechanisms
from .prefix_cache import PrefixCache
from .reasons import Reason
from .report import Report

AUTO = "auto"
CACHE_POINTS = ("auto", "blocks", "output")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunSettings:
    """What a sampling run is made with, as far as it is known.

    Attributes:
        sampler: its name, such as "euler"; "" if unknown.
        times: evaluation times; empty if unknown.
        cfg: scale of the guidance; None if unknown.
        size: of the output (see model_identity.size_of); empty if unknown.
        multistep: of the sampler (see Evaluations).
        leftover: the noise level at which the run ends; 0 if the latent is then done.
        before: the report on the run or runs that this one continues (see CacheConfig.continues), or None.
    """

    sampler: str = ""
    times: tuple[float, ...] = ()
    cfg: float | None = None
    size: tuple[int, ...] = ()
    multistep: bool = False
    leftover: float = 0.0
    before: Report | None = None


@dataclass(frozen=True)
class CacheConfig:
    """What the MODEL that ComfyUI keeps carries. Holds no state of any run.

    Attributes:
        schedule: (evaluation times, cost of a cached evaluation) -> one bool per evaluation, True where computed; on a
            ValueError the run is left uncached, and its message is reported. By default everything is computed.
        computes_all: the schedule computes everything, whatever the times; such a run is not planned.
        continues: a run of these settings that takes up the latent of another, at the noise level where that one ended,
            continues it: `for_run` gets the report on the other one, and one report is published for both.
        mechanism: one of `mechanisms.CLASSES`, or "auto" where `for_run` chooses it.
        order: 1 to 3, of taylor and hermite.
        gram: of l2p: [n, n], mean inner products of the predictions of such runs (see recording).
        cache_point: "blocks", "output" or "auto".
        cache_device: "auto" stores features where they arise, "cpu" in main memory.
        evaluated: called after every evaluation with its index, whether it was computed, and the schedule, None where
            it is not settled or no longer followed; exceptions are logged.
        published: called with the report after every run; exceptions are logged.
        prefix_cache: shares computed evaluations between runs of these settings, for networks that are a function of
            their input; None: every run computes all of its own.
        notes: reasons for the report of every run that is cached.
        for_run: (this configuration, RunSettings) -> the configuration of one run, called as the run begins.
        identity: unique to these settings.

    Raises:
        ValueError: an unknown mechanism or cache point, an order outside 1..3, or a mechanism without its gram.
    """

    schedule: Callable[[Sequence[float], float], tuple[bool, ...]] = lambda times, cached_cost: (True,) * len(times)
    mechanism: str = "taylor"
    order: int = 1
    cache_point: str = "auto"
    cache_device: str = "auto"
    gram: np.ndarray | None = field(default=None, compare=False)
    evaluated: Callable[[int, bool, Sequence[bool] | None], None] = field(default=lambda *evaluation: None)
    published: Callable[[Report], None] = field(default=lambda report: None)
    prefix_cache: PrefixCache | None = None
    computes_all: bool = False
    continues: bool = False
    notes: Sequence[Reason] = ()
    for_run: Callable[[CacheConfig, RunSettings], CacheConfig] = field(default=lambda config, run: config)
    identity: str = field(default_factory=lambda: uuid4().hex)

    def __post_init__(self) -> None:
        if self.mechanism != AUTO:
            mechanisms.make(self.mechanism, self.order, gram=self.gram)
        if self.cache_point not in CACHE_POINTS:
            raise ValueError(f"There is no cache point '{self.cache_point}'; choose one of {', '.join(CACHE_POINTS)}.")

    def notify_evaluated(self, *evaluation) -> None:
        """Call `evaluated`; a failure of it is logged."""
        try:
            self.evaluated(*evaluation)
        except Exception:
            log.exception("ReCache: the progress of a run could not be shown.")

    def notify_published(self, report: Report) -> None:
        """Call `published`; a failure of it is logged."""
        try:
            self.published(report)
        except Exception:
            log.exception("ReCache: the report could not be shown.")
