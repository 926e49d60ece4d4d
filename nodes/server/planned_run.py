"""A run before it begins, from the samplers that the page describes (see graph)."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...caching import model_identity
from ...caching.dry_run import dry_run_without_rng
from ...caching.evaluations import Evaluations, takes_over
from ...caching.lru import LruCache
from . import graph
from .run_state import History

log = logging.getLogger(__name__)

MAX_SECONDS = 0.5  # of a sampler's dry run while the page waits


@dataclass(frozen=True)
class PlannedRun:
    """A run before it begins, of one sampler or of several that work on one latent in turn.

    Attributes:
        layout: of the model, if known.
        sampler, cfg, size, leftover: see caching.RunSettings; the first sampler's, but for `leftover`.
        guessed: see graph.Sampling.
        parts: evaluations of every sampler.
    """

    evaluations: Evaluations
    layout: str | None
    sampler: str = ""
    cfg: float | None = None
    size: tuple[int, ...] = ()
    leftover: float = 0.0
    guessed: bool = False
    parts: tuple[int, ...] = ()

    def takes_over(self, other: PlannedRun) -> bool:
        """Whether this run continues another one's latent."""
        return takes_over(self.evaluations.sigmas, other.leftover)

    def followed_by(self, other: PlannedRun) -> PlannedRun:
        """Both as one run."""
        return replace(self, evaluations=self.evaluations.followed_by(other.evaluations), leftover=other.leftover,
                       guessed=self.guessed or other.guessed, parts=self.parts + other.parts)


_runs: LruCache[PlannedRun | None] = LruCache(64)


def planned_run(sampler: dict, later: Sequence[dict], history: History | None) -> PlannedRun | None:
    """The run that a sampler makes, and those of `later` that take over its latent in turn; None if it is not known."""
    run, others = _one(sampler, history), [_one(tree, history) for tree in later]
    while run and (following := next((other for other in others if other and other.takes_over(run)), None)):
        others.remove(following)
        run = run.followed_by(following)
    return run


def _one(sampler: dict, history: History | None) -> PlannedRun | None:
    key = json.dumps(sampler, sort_keys=True), history and id(history.model_sampling)
    if key not in _runs:
        run = _dry_run(sampler, history)
        if run is not None and run.layout is None:
            return run  # the model's file may be there later
        _runs.put(key, run)
    return _runs.get(key)


def _dry_run(sampler: dict, history: History | None) -> PlannedRun | None:
    try:
        found = graph.sampling(sampler, history and graph.model_stub(history.model_sampling))
    except graph.Unknown:
        return None
    except Exception:  # nodes and schedulers of other packs may raise anything
        log.debug("ReCache: the graph does not tell what its sampler does.", exc_info=True)
        return None
    if found.known:
        layout = model_identity.layout(found.model.model.diffusion_model)
    else:
        layout = history.layout if history else None
    schedule = found.model.get_model_object("model_sampling")
    evaluations = dry_run_without_rng(found.sampler, found.sigmas, schedule, MAX_SECONDS)
    if evaluations.refusal is not None and evaluations.refusal.code == "sampler_slow":
        return None  # the run itself has more time
    leftover = float(found.sigmas[-1]) if len(found.sigmas) else 0.0
    return PlannedRun(evaluations, layout, model_identity.sampler_name(found.sampler), found.cfg, found.size, leftover,
                      found.guessed, (len(evaluations),))
