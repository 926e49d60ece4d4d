"""Where memory runs out beside or because of the cache, the run goes on uncached and says so."""

from __future__ import annotations

import comfy.model_management
import pytest
import torch

from recache.caching import Reason
from recache.caching.history import History
from recache.caching.memory import is_out_of_memory
from tests.reliability.injection import DRY_RUN, OOM_CODES, Faults, allocates
from tests.sampling import models, run, settings

pytestmark = pytest.mark.usefixtures("host")
FAMILY, STEPS = "flux", 4
BOTH = pytest.mark.parametrize("cache_point", ["output", "blocks"])


@pytest.mark.parametrize(("mechanism", "cache_point", "cache_device"), [
    ("residual", "output", "cpu"), ("taylor", "output", "auto"), ("dicache", "blocks", "cpu")])
def test_no_run_ends_wherever_memory_runs_out_in_the_packs_own_work(mechanism, cache_point, cache_device):
    def trace(at):
        recache = settings(
            computed={0, 2}, mechanism=mechanism, cache_point=cache_point, cache_device=cache_device)
        with Faults(at, counts=allocates, without=DRY_RUN) as faults:
            return run(FAMILY, recache, steps=STEPS), faults.count

    plain = run(FAMILY, None, steps=STEPS)
    clean, places = trace(None)
    assert places > 10 and not clean.report.notes
    for at in range(places):
        found, _ = trace(at)
        assert found.report.finished, at
        assert set(found.report.computed) <= set(found.computed), at
        assert {note.code for note in found.report.notes} <= OOM_CODES, at
        if len(found.report.computed) == STEPS:
            assert torch.equal(found.samples, plain.samples), at
    assert torch.equal(trace(None)[0].samples, clean.samples), "the next run is as if nothing had happened"


@pytest.mark.parametrize("at_evaluation", [1, 3, 4])
@BOTH
def test_a_network_that_has_no_room_beside_the_cache_gets_it(cache_point, at_evaluation):
    """What the uncached run has memory for is computed, without the cache."""
    def fail(module, args, kwargs):
        cache = kwargs["transformer_options"].get("recache")
        if cache is not None and cache.index >= at_evaluation and len(cache.histories):
            raise torch.OutOfMemoryError("no room beside the cache")

    handle = models(FAMILY)[0].model.diffusion_model.register_forward_pre_hook(fail, with_kwargs=True)
    try:
        trace = run(FAMILY, settings(computed={0, 1, 3, 4}, cache_point=cache_point), steps=6)
    finally:
        handle.remove()
    assert trace.report.finished and {note.code for note in trace.report.notes} <= OOM_CODES
    assert trace.report.computed == [i for i in range(6) if i in (0, 1, 3, 4) or i >= at_evaluation]


@pytest.mark.parametrize("recache", [None, {"budget": 1.0}, {"budget": 0.5}], ids=str)
def test_a_network_that_has_no_room_anyway_ends_the_run(recache):
    def fail(module, args):
        raise torch.OutOfMemoryError("no room at all")

    handle = models(FAMILY)[0].model.diffusion_model.register_forward_pre_hook(fail)
    try:
        with pytest.raises(torch.OutOfMemoryError, match="no room at all"):
            run(FAMILY, recache and settings(**recache), steps=2)
    finally:
        handle.remove()


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("no room"), MemoryError(), RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:116] DefaultCPUAllocator: not enough memory: you tried to allocate 9"),
    RuntimeError("CUDA error: out of memory"), RuntimeError("HIP error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("UR backend failed. UR backend returns:40 (UR_RESULT_ERROR_OUT_OF_RESOURCES)"),
    RuntimeError("NPU out of memory. Tried to allocate 9.00 GiB"),
    RuntimeError("Could not allocate tensor with 9 bytes. There is not enough GPU video memory available!")]


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=str)
def test_every_device_has_its_own_way_to_be_out_of_memory(error):
    assert is_out_of_memory(error)


def test_what_the_host_calls_out_of_memory_is(monkeypatch):
    class Full(Exception):
        pass

    monkeypatch.setattr(comfy.model_management, "OOM_EXCEPTION", Full)
    assert is_out_of_memory(Full())


@pytest.mark.parametrize("error", [
    RuntimeError("The size of tensor a must match the size of tensor b"), ValueError("out of memory"), KeyError("img")],
    ids=str)
def test_other_errors_are_not(error, monkeypatch):
    assert not is_out_of_memory(error)
    # where torch has no exception for it, older hosts name the base of all
    monkeypatch.setattr(comfy.model_management, "OOM_EXCEPTION", Exception)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize("error", OUT_OF_MEMORY[2:4], ids=str)
@pytest.mark.parametrize("where, code", [("record", "caching"), ("forecast", "forecasting")])
def test_an_error_that_only_tells_by_its_words_ends_caching_and_not_the_run(error, where, code, monkeypatch):
    def full(self, *args):
        raise error

    monkeypatch.setattr(History, where, full)
    trace = run(FAMILY, settings(computed={0, 2}, cache_point="blocks"), steps=4)
    assert trace.report.notes == [Reason(f"out_of_memory_{code}")]
    assert trace.report.finished and trace.computed == [0, 1, 2, 3]


def test_other_errors_are_not_hidden(monkeypatch):
    def wrong(self, *args):
        raise RuntimeError("The size of tensor a must match the size of tensor b")

    monkeypatch.setattr(History, "record", wrong)
    with pytest.raises(RuntimeError, match="must match"):
        run(FAMILY, settings(computed={0, 2}, cache_point="blocks"), steps=4)


@pytest.mark.parametrize("failing", [0, 3])
@BOTH
def test_out_of_memory_while_recording(cache_point, failing, monkeypatch):
    records = []
    record = History.record

    def full(self, *args):
        records.append(0)
        if len(records) > failing:
            raise torch.OutOfMemoryError("no room")
        record(self, *args)

    monkeypatch.setattr(History, "record", full)
    trace = run(FAMILY, settings(computed={0, 3, 6, 8}, cache_point=cache_point), steps=10)
    since = [0, 3, 6, 8][failing]
    assert trace.report.computed == trace.computed == [i for i in range(10) if i in (0, 3, 6) or i >= since]
    assert trace.report.notes == [Reason("out_of_memory_caching")]
    assert trace.report.finished


@BOTH
def test_out_of_memory_while_forecasting(cache_point, monkeypatch):
    def full(self, *args):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(History, "forecast", full)
    plain = run(FAMILY, None, steps=6)
    trace = run(FAMILY, settings(computed={0, 3}, cache_point=cache_point), steps=6)
    assert torch.equal(trace.samples, plain.samples)
    assert trace.report.computed == trace.computed == list(range(6))
    assert trace.report.notes == [Reason("out_of_memory_forecasting")]
