"""What the last runs of every Budget node did: told to the page while they sample, kept for when it asks again.

A prompt of a script belongs to no page, and nothing of it is kept. One workflow runs at a time, on the thread that
executes it; the page's questions come from another thread and read only.
"""

from __future__ import annotations

import copy
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from server import PromptServer

from ...caching import Reason, Report, model_identity
from ...policies.policy_file import PolicyFile
from .prompt_info import of_page, workflow_id

log = logging.getLogger(__name__)

EVENT = "recache.run"
KEPT_NODES = 64
KEPT_RUNS = 4  # of each node: a model may feed several samplers


@dataclass
class Run:
    """One sampling run, as the page shows it; numbers of evaluations are 0-based.

    Attributes:
        planned: evaluations that are to be computed; None where nothing is cached.
        computed: evaluations that were.
        evaluations: how many were made so far.
        n: how many there will be; 0 as long as that is not known.
        times: evaluation times, once it is over.
        cost: what a cached evaluation was charged.
        speedup, saved: measured, and the seconds that it saved; None where nothing was.
        over, finished: it has ended; it was not cut short.
        notes: for the artist.
    """

    mechanism: str
    cache_point: str
    n: int = 0
    planned: list[int] | None = None
    computed: list[int] = field(default_factory=list)
    evaluations: int = 0
    times: tuple[float, ...] = ()
    cost: float = 0.0
    speedup: float | None = None
    saved: float | None = None
    over: bool = False
    finished: bool = False
    notes: list[Reason] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """For the page."""
        values = asdict(self)
        for key in ("mechanism", "cache_point", "times", "cost"):
            del values[key]
        return values | {"notes": [note.as_json() for note in self.notes]}


@dataclass
class Known:
    """What is known of a Budget node since it ran.

    Attributes:
        model_sampling: a copy of its MODEL's noise schedule, or None where it can't be copied.
        layout: of its network (see model_identity.layout).
        file: the policy it used, or None.
        runs: the newest first.
    """

    model_sampling: Any
    layout: str
    file: PolicyFile | None
    runs: list[Run] = field(default_factory=list)

    def cost(self, mechanism: str, cache_point: str) -> float | None:
        """What a cached evaluation was charged in the last run that cached so; None if there was none."""
        return next((run.cost for run in self.runs if run.over and run.planned
                     and (run.mechanism, run.cache_point) == (mechanism, cache_point)), None)


_NO_ID = ""  # of a workflow that was not opened from a file, until its page is loaded again
_known: OrderedDict[tuple[str, str], Known] = OrderedDict()


def known(workflow: str, node: str) -> Known | None:
    """What is known of a node of a workflow, which may have got its id since it ran."""
    return _known.get((workflow, node)) or _known.get((_NO_ID, node))


class RunMonitor:
    """Follows the runs of one Budget node from its execution on; does nothing where no page is served."""

    def __init__(self, node: str | None, model, mechanism: str, cache_point: str, file: PolicyFile | None):
        self.node, self.mechanism, self.cache_point = node, mechanism, cache_point
        server = getattr(PromptServer, "instance", None)
        self.server = server if node is not None else None
        self.run: Run | None = None
        if self.server is None:
            return
        self.layout, self.file = model_identity.layout(model.model.diffusion_model), file
        try:
            self.model_sampling = copy.deepcopy(model.get_model_object("model_sampling")).to("cpu")
        except Exception:  # another pack's noise schedule, which can't be copied: plans do with a stand-in
            log.debug("ReCache: the noise schedule of a model could not be kept.", exc_info=True)
            self.model_sampling = None

    def evaluated(self, index: int, computed: bool, schedule: Sequence[bool] | None) -> None:
        """An evaluation was made (see caching.CacheConfig)."""
        if self.server is None:
            return
        if index == 0 or self.run is None:
            self._begin()
        run, news = self.run, {"index": index, "computed": computed}
        run.evaluations = index + 1
        if computed:
            run.computed.append(index)
        planned = None if schedule is None else [i for i, planned in enumerate(schedule) if planned]
        if index == 0 or planned != run.planned:
            run.planned = planned
            run.n = len(schedule or ()) or run.n
            news |= {"planned": planned, "n": run.n}
        self._send(news)

    def published(self, report: Report) -> None:
        """A run is over (see caching.CacheConfig)."""
        if self.server is None:
            return
        if self.run is None or self.run.over:
            self._begin()
        run = self.run
        run.over, run.finished, run.times, run.cost = True, report.finished, report.times, report.cached_cost
        run.n, run.evaluations, run.computed = max(run.n, report.evaluations), report.evaluations, report.computed
        run.planned, run.notes = report.planned or None, report.notes
        if report.planned:
            run.speedup, run.saved = report.measured_speedup, report.seconds_saved
        self._send({"run": run.shown()})

    def _begin(self) -> None:
        self.run = Run(self.mechanism, self.cache_point)
        self.workflow = _running_workflow(self.server)
        if self.workflow is None:
            return
        key = (self.workflow, self.node)
        before = _known.pop(key, None)
        _known[key] = Known(self.model_sampling, self.layout, self.file,
                            [self.run, *(before.runs if before else [])[: KEPT_RUNS - 1]])
        while len(_known) > KEPT_NODES:
            _known.popitem(last=False)

    def _send(self, news: dict[str, Any]) -> None:
        client = self.server.client_id
        if client is not None:
            self.server.send_sync(EVENT, {"workflow": self.workflow, "node": self.node, **news}, client)


def _running_workflow(server) -> str | None:
    """The id of the workflow that is executed, as its page knows it; "" if it has none yet, None if it has no page."""
    running, _ = server.prompt_queue.get_current_queue_volatile()
    extra_pnginfo = (running[0][3] if running else {}).get("extra_pnginfo")
    return workflow_id(extra_pnginfo) or (_NO_ID if of_page(extra_pnginfo) else None)
