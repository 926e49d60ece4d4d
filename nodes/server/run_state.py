"""The last runs of every Budget node: sent to the page as they sample, and stored for later requests.

They are stored by the workflow's id, so that no node shows another workflow's figures; without an id, as when a script
queues a workflow, they are not stored. One workflow runs at a time, on the thread that executes it; the page's requests
come on another thread.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from server import PromptServer

from ...caching import Reason, Report
from ...caching.lru import LruCache
from ...policies.policy_file import PolicyFile
from ...policies.schedule import same_times
from .prompt_info import running_workflow
from .wording import reason_text

log = logging.getLogger(__name__)

EVENT = "recache.run"
MAX_NODES = 64
MAX_RUNS = 4  # of each node: a model may feed several samplers


@dataclass
class Run:
    """One sampling run, as the page shows it; indices of evaluations are 0-based.

    Attributes:
        cache_point: as chosen on the node. mechanism: set once the run is over.
        n: evaluations of the whole run; 0 if not known yet.
        planned: evaluations that are to be computed; None if nothing is cached.
        scheduled: see caching.Report; set once the run is over.
        computed: evaluations computed so far.
        evaluations: number of evaluations so far.
        times, cfg, size: see caching.RunSettings; set once the run is over.
        parts: evaluations of every sampler in it; set once the run is over.
        cached_cost: cost of a cached evaluation, as a share of a computed one.
        seconds: of a computed evaluation; None if not measured.
        speedup, saved: measured speed-up, and seconds saved; None if nothing was cached.
        over: whether the run has ended. finished: whether it was not cut short.
        notes: for the artist.
    """

    cache_point: str
    mechanism: str = ""
    n: int = 0
    planned: list[int] | None = None
    scheduled: list[int] = field(default_factory=list)
    computed: list[int] = field(default_factory=list)
    evaluations: int = 0
    times: tuple[float, ...] = ()
    cfg: float | None = None
    size: tuple[int, ...] = ()
    parts: tuple[int, ...] = ()
    cached_cost: float = 0.0
    seconds: float | None = None
    speedup: float | None = None
    saved: float | None = None
    over: bool = False
    finished: bool = False
    notes: list[Reason] = field(default_factory=list)

    def of_plan(self, mechanism: str, computed: list[int], times: Sequence[float], parts: Sequence[int]) -> bool:
        """Whether such a plan makes this run, or its first samplers do; a run that could not be planned has no times.

        Args:
            parts: evaluations of each sampler.
        """
        if not self.times:
            return self.planned is None and self.evaluations == len(times)
        made = len(self.times)
        if made not in accumulate(parts):
            return False
        chosen = self.planned is None or self.scheduled == [i for i in computed if i < made]
        return chosen and self.mechanism == mechanism and same_times(self.times, times[:made])

    def as_json(self) -> dict[str, Any]:
        """The fields that the page shows."""
        shown = ("n", "planned", "computed", "evaluations", "speedup", "saved", "over", "finished")
        return {name: getattr(self, name) for name in shown} | {"notes": [note.as_json() for note in self.notes]}


@dataclass
class History:
    """The last runs of a Budget node in one workflow.

    Attributes:
        model_sampling: a copy of its MODEL's noise schedule, or None if it can't be copied.
        layout: of its network (see model_identity.layout).
        file: the policy that was connected, or None.
        runs: the newest first.
    """

    model_sampling: Any
    layout: str
    file: PolicyFile | None
    runs: list[Run] = field(default_factory=list)

    @property
    def sampling(self) -> Run | None:
        """The run that is not over yet, or None."""
        return next((run for run in self.runs if not run.over), None)

    def last(self, mechanism: str, computed: list[int], times: Sequence[float], parts: Sequence[int]) -> Run | None:
        """The last run at these times whose schedule chose these evaluations, or that was not cached; or None."""
        return next((run for run in self.runs if run.over and run.of_plan(mechanism, computed, times, parts)), None)

    def seconds(self, cfg: float | None, size: Sequence[int]) -> float | None:
        """Seconds of a computed evaluation in the last run of this size, with or without guidance; None without one."""
        return next((run.seconds for run in self.runs if run.over and run.seconds is not None
                     and tuple(run.size) == tuple(size) and (run.cfg == 1.0) == (cfg == 1.0)), None)

    def cached_cost(self, mechanism: str, cache_point: str) -> float | None:
        """Cost of a cached evaluation in the last run with this mechanism and cache point; None without one."""
        return next((run.cached_cost for run in self.runs if run.over and run.planned
                     and (run.mechanism, run.cache_point) == (mechanism, cache_point)), None)


_histories: LruCache[History] = LruCache(MAX_NODES)


def history_of(workflow: str, node: str) -> History | None:
    """The runs of a node in the workflow with this id, or None."""
    return _histories.get((workflow, node))


class RunMonitor:
    """Follows the runs of one Budget node from its execution on; does nothing without a server.

    Args:
        layout: of the model's network (see model_identity.layout).
    """

    def __init__(self, node: str | None, model, layout: str, cache_point: str, file: PolicyFile | None):
        self.node, self.layout, self.cache_point, self.file = node, layout, cache_point, file
        self.server = getattr(PromptServer, "instance", None) if node is not None else None
        self.workflow: str | None = None
        self.run = Run(cache_point, over=True)
        self.model_sampling = None
        if self.server is None:
            return
        try:
            self.model_sampling = copy.deepcopy(model.get_model_object("model_sampling")).to("cpu")
        except Exception:  # a noise schedule of another pack that can't be copied: plans use a stub
            log.debug("ReCache: the noise schedule of a model could not be copied.", exc_info=True)

    def evaluated(self, index: int, computed: bool, schedule: Sequence[bool] | None,
                  before: Report | None = None) -> None:
        """An evaluation was made (see caching.CacheConfig).

        Args:
            before: the report on other samplers' runs that this one continues, counted through.
        """
        if self.server is None:
            return
        changes = {"index": index, "computed": computed}
        if index == 0 or self.run.over:
            self._begin()
            changes["before"] = list(before.computed) if before else []
            self.run.computed = list(changes["before"])  # grows, as the page's own does
        run = self.run
        run.evaluations = index + 1
        if computed:
            run.computed.append(index)
        planned = None if schedule is None else [i for i, planned in enumerate(schedule) if planned]
        if "before" in changes or planned != run.planned:
            run.planned = planned
            run.n = len(schedule or ()) or run.n
            changes |= {"planned": planned, "n": run.n}
        self._send(changes)

    def published(self, report: Report) -> None:
        """A run is over (see caching.CacheConfig)."""
        for note in report.notes:
            log.info("ReCache: %s", reason_text(note))
        if self.server is None:
            return
        if self.run.over:
            self._begin()
        run = self.run
        run.over, run.finished, run.cached_cost = True, report.finished, report.cached_cost
        run.times, run.cfg, run.size = report.times, report.cfg, report.size
        run.parts = tuple(part.evaluations for part in report.parts) or (report.evaluations,)
        if report.seconds_uncached is not None:
            run.seconds = report.seconds_uncached / report.evaluations
        run.n, run.evaluations, run.computed = max(run.n, report.evaluations), report.evaluations, report.computed
        run.planned, run.scheduled = report.planned or None, report.scheduled
        run.notes, run.mechanism = report.notes, report.mechanism
        if report.planned:
            run.speedup, run.saved = report.measured_speedup, report.seconds_saved
        self._send({"run": run.as_json()})

    def _begin(self) -> None:
        self.run = Run(self.cache_point)
        self.workflow = running_workflow()
        if self.workflow is None:
            return
        before = history_of(self.workflow, self.node)
        runs = [self.run, *(before.runs if before and before.layout == self.layout else [])]
        _histories.put((self.workflow, self.node),
                       History(self.model_sampling, self.layout, self.file, runs[:MAX_RUNS]))

    def _send(self, changes: dict[str, Any]) -> None:
        client = self.server.client_id
        if client is not None:
            self.server.send_sync(EVENT, {"workflow": self.workflow, "node": self.node, **changes}, client)
