"""An error at any point of a run: at an operation of torch in the pack's code, or a call of a module of the network."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unittest import mock

import comfy.model_management
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from recache import caching
from recache.caching.history import History
from tests.sampling import ksampler, models, settings

FAMILY, STEPS = "flux", 4
CACHING = str(Path(caching.__file__).parent)
# As the run begins; they work on a few numbers.
DRY_RUN = ("dry_run.py", "evaluations.py", "stub_guider.py", "sampler_copy.py")
OOM_CODES = {"out_of_memory_caching", "out_of_memory_forecasting"}
SETTINGS = {
    "taylor at output, computed at the end": {"mechanism": "taylor", "cache_point": "output", "computed": {0, 2, 3}},
    "residual at output, on the CPU": {"mechanism": "residual", "cache_point": "output", "cache_device": "cpu"},
    "meancache at output": {"mechanism": "meancache", "cache_point": "output"},
    "taylor at blocks": {"mechanism": "taylor", "cache_point": "blocks"},
    "hermite at blocks, on the CPU, computed at the end": {
        "mechanism": "hermite", "cache_point": "blocks", "cache_device": "cpu", "computed": {0, 2, 3}},
    "dicache at blocks": {"mechanism": "dicache", "cache_point": "blocks"},
}
ERRORS: dict[str, Callable[[], Exception]] = {
    "runtime error": lambda: RuntimeError("injected"),
    "out of memory": lambda: torch.OutOfMemoryError("injected"),
    "interrupt": comfy.model_management.InterruptProcessingException,
}


def allocates(func, args, out) -> bool:
    """Whether an operation of torch has taken memory: its result is in none of its arguments, or it compares all."""
    def places(values):
        return {value.untyped_storage().data_ptr() for value in values if torch.is_tensor(value)}

    return func is torch.equal or bool(places([out]) - places(args))


class Faults(TorchFunctionMode):
    """While entered, counts the points of runs, and raises at one of them.

    Args:
        at: number of the point; None: nowhere.
        error: makes what is raised.
        counts: (function, arguments, result) -> whether an operation in the pack's code is a point.
        without: files of the pack whose operations are none.
        network: whether calls of the network's modules are points, too.

    Attributes:
        count: points so far.
        held: at the point where it raised, whether a cache held anything, and whether the network was running.
    """

    def __init__(self, at: int | None = None, error=ERRORS["out of memory"], counts=lambda *_: True,
                 without: tuple[str, ...] = (), network: bool = False):
        super().__init__()
        self.at, self.error, self.counts, self.without, self.network = at, error, counts, without, network
        self.count = 0
        self.held: tuple[bool, bool] | None = None
        self.recorded: list[weakref.ref] = []

    def __enter__(self):
        record, recorded = History.record, self.recorded

        def spy(history, *args):
            record(history, *args)
            recorded.extend(weakref.ref(tensor) for tensor in history.features + history.probes)

        self._spy = mock.patch.object(History, "record", spy)
        self._spy.start()
        if self.network:
            self._hook = register_module_forward_pre_hook(lambda module, args: self._point(True))
        return super().__enter__()

    def __exit__(self, *exception):
        super().__exit__(*exception)
        self._spy.stop()
        if self.network:
            self._hook.remove()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        caller = sys._getframe(1).f_code.co_filename
        looks = func.__name__ == "__get__"  # reads an attribute, such as a shape
        if caller.startswith(CACHING) and not (looks or caller.endswith(self.without)) and self.counts(func, args, out):
            self._point(False)
        return out

    def _point(self, in_network: bool) -> None:
        self.count += 1
        if self.count - 1 == self.at:
            self.held = bool(self.alive()), in_network
            raise self.error()

    def alive(self) -> list[weakref.ref]:
        """Of the tensors that went into a cache, those that still are."""
        return [ref for ref in self.recorded if ref() is not None]


class Subject:
    """A MODEL under one of SETTINGS, and what its run gives without a fault."""

    def __init__(self, name: str):
        self.config = settings(**{"computed": {0, 2}, **SETTINGS[name]})
        self.model = caching.attach(models(FAMILY)[0], self.config)
        self.sample = ksampler(FAMILY, steps=STEPS, cfg=3.0)
        self.uncached = self.sample(models(FAMILY)[0])
        self.clean = self.sample(self.model)
        with Faults(network=True) as faults:
            self.sample(self.model)
        self.points = faults.count

    @property
    def report(self) -> caching.Report:
        """Of the last run."""
        return caching.reports_of(self.config.identity)[-1]

    def inject(self, at: int, kind: str) -> str:
        """One run with an error at a point, and the next run; says how the first ended.

        Raises:
            AssertionError: something is alive afterwards, the next run differs, or the run ended otherwise than it may.
        """
        ended = self._run(Faults(at, ERRORS[kind], network=True), kind)
        again = self.sample(self.model)
        assert torch.equal(again, self.clean), f"the run after it differs: {kind} at {at}"
        assert not self.report.notes and self.report.finished, f"the report after the next run: {kind} at {at}"
        return ended

    def _run(self, faults: Faults, kind: str) -> str:
        samples, reports = None, caching.reports_of(self.config.identity)
        with suppress(type(ERRORS[kind]())), faults:
            samples = self.sample(self.model)
        if faults.alive():
            gc.collect()
        assert not faults.alive(), f"tensors are alive after {kind} at {faults.at}"
        assert "recache" not in self.model.model_options["transformer_options"]
        assert faults.held is not None, f"point {faults.at} was not reached"
        if self.report is reports[-1]:
            assert samples is None and kind != "out of memory", f"{kind} at {faults.at} kept the run from being opened"
            return "ended before the run"
        assert self.report.finished == (samples is not None), f"the report after {kind} at {faults.at} is wrong"
        if samples is None:
            held, in_network = faults.held
            may_end = kind != "out of memory" or (in_network and not held)
            assert may_end, f"no memory at {faults.at} ended the run"
            return "ended the run"
        assert kind != "interrupt", f"the interrupt at {faults.at} was lost"
        if len(self.report.computed) == STEPS:
            assert torch.equal(samples, self.uncached), f"all computed, but not as uncached: {kind} at {faults.at}"
        return "went on uncached" if self.report.notes or not self.report.planned else "went on as planned"
