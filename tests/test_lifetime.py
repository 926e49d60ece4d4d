"""A run leaves nothing behind, however it ends; and whatever goes wrong, the run goes on uncached and says why."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import comfy.model_management
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy.samplers import CFGGuider, calculate_sigmas, sampler_object
from comfy.utils import pack_latents
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from recache import caching
from recache.caching import Reason
from recache.caching.clock import Clock
from recache.caching.history import History
from recache.caching.report import fingerprint, publish
from recache.nodes.report import ReCacheReport
from tests.sampling import Script, ksampler, models, observe, run, settings
from tests.tiny.families import FAMILIES

pytestmark = pytest.mark.usefixtures("host")
FAMILY = "flux"
BOTH = pytest.mark.parametrize("cache_point", ["output", "blocks"])


class Stop(Exception):
    """Thrown by a model."""


def throw() -> None:
    raise Stop


def cancel() -> None:
    """What the host does when an artist presses Cancel."""
    comfy.model_management.interrupt_current_processing()
    comfy.model_management.throw_exception_if_processing_interrupted()


def at_call(model, number: int, action):
    """Does `action` in the network's call `number`; returns the handle of torch's hook."""
    calls = []

    def hook(module, args):
        calls.append(0)
        if len(calls) == number + 1:
            action()

    return model.model.diffusion_model.register_forward_pre_hook(hook)


@pytest.fixture
def kept(monkeypatch) -> list[weakref.ref]:
    """Weak references to every tensor that goes into a cache."""
    refs = []
    record = History.record

    def spy(self, *args):
        record(self, *args)
        refs.extend(weakref.ref(tensor) for tensor in self.features + self.probes)

    monkeypatch.setattr(History, "record", spy)
    return refs


def alive() -> int:
    gc.collect()
    return sum(torch.is_tensor(thing) for thing in gc.get_objects())


# ---- the end of a run


@pytest.mark.parametrize("ending", [None, throw, cancel])
@pytest.mark.parametrize("mechanism, cache_point", [("taylor", "output"), ("taylor", "blocks"), ("dicache", "blocks"),
                                                    ("residual", "blocks")])
def test_no_tensor_of_the_cache_outlives_its_run(ending, mechanism, cache_point, kept):
    model = models(FAMILY)[0]
    recache = settings(computed={0, 1, 3, 5}, cache_point=cache_point, mechanism=mechanism)
    attached = caching.attach(model, recache)
    sample = ksampler(FAMILY, steps=8, cfg=4.0)
    expected = sample(attached)
    before = alive()
    kept.clear()
    if ending is None:
        sample(attached)
    else:
        handle = at_call(model, 3, ending)
        with pytest.raises((Stop, comfy.model_management.InterruptProcessingException)):
            sample(attached)
        handle.remove()
    assert len(kept) >= 2
    assert alive() <= before
    assert [ref for ref in kept if ref() is not None] == []
    report = caching.reports_of(recache.identity)[-1]
    assert report.finished == (ending is None)
    assert torch.equal(sample(attached), expected), "the next run is as if nothing had happened"


@BOTH
def test_the_cache_is_free_as_soon_as_nothing_more_is_forecast(cache_point, kept):
    left = []

    def before(i):
        left.append(sum(ref() is not None for ref in kept))

    Script(before=before).run(FAMILY, settings(computed={0, 1, 3, 6, 7}, cache_point=cache_point))
    of_run = left[-8:]  # a dry run of the sampler came before
    assert all(of_run[1:6]) and of_run[6:] == [0, 0], "evaluation 5 is the last forecast"


@BOTH
def test_a_run_of_another_size_right_after(cache_point):
    attached = caching.attach(models(FAMILY)[0], settings(0.4, cache_point=cache_point))
    channels, height, width = FAMILIES[FAMILY].latent_shape

    def made(model, batch, height, width):
        latent = {"samples": torch.zeros(batch, channels, height, width)}
        return ksampler(FAMILY, cfg=3.0, latent=latent)(model)

    for size in [(1, height, width), (3, height, width), (1, height + 4, width), (2, height, width - 2)]:
        fresh = caching.attach(models(FAMILY)[0], settings(0.4, cache_point=cache_point))
        assert torch.equal(made(attached, *size), made(fresh, *size))


@BOTH
def test_another_prompt_right_after(cache_point):
    attached = caching.attach(models(FAMILY)[0], settings(0.4, cache_point=cache_point))
    fresh = caching.attach(models(FAMILY)[0], settings(0.4, cache_point=cache_point))
    ksampler(FAMILY, prompts=FAMILIES[FAMILY].conditioning(1))(attached)
    other = ksampler(FAMILY, prompts=FAMILIES[FAMILY].conditioning(2))
    assert torch.equal(other(attached), other(fresh))


def test_the_report_of_a_latent_is_that_of_its_run():
    recache = settings(0.4)
    attached = caching.attach(models(FAMILY)[0], recache)
    first, second = (ksampler(FAMILY, steps=steps)(attached) for steps in (5, 8))
    assert caching.report_of(recache.identity, first).evaluations == 5
    assert caching.report_of(recache.identity, second).evaluations == 8
    assert caching.report_of(recache.identity, second.half()).evaluations == 8
    assert caching.report_of("nothing", first) is None
    uncached = ksampler(FAMILY, steps=8)(models(FAMILY)[0])
    for other in (uncached, torch.zeros_like(first), first * 1.01, first[..., :-2], torch.zeros(1),
                  torch.nn.functional.interpolate(first, scale_factor=2.0), None):
        assert caching.report_of(recache.identity, other) is None


def test_a_samplers_last_prediction_is_of_its_run_too():
    recache = settings(0.4)
    attached = caching.attach(models(FAMILY)[0], recache)
    guider = CFGGuider(attached)
    guider.set_conds(*FAMILIES[FAMILY].conditioning())
    sigmas = calculate_sigmas(attached.get_model_object("model_sampling"), "simple", 5)
    latent = {"samples": torch.zeros(1, *FAMILIES[FAMILY].latent_shape)}
    result, denoised = SamplerCustomAdvanced.execute(
        RandomNoise.execute(1).args[0], guider, sampler_object("euler"), sigmas, latent).args
    assert caching.report_of(recache.identity, result["samples"]).evaluations == 5
    assert caching.report_of(recache.identity, denoised["samples"]).evaluations == 5


def test_every_part_of_a_nested_latent_counts():
    video, sound = torch.rand(2, 16, 5, 40, 30), torch.rand(2, 8, 121, 16)
    run_report = caching.Report("taylor", 1, evaluations=7, samples=fingerprint(pack_latents([video, sound])[0]))
    publish("nested", run_report)
    assert caching.report_of("nested", NestedTensor([video, sound])).evaluations == 7
    for other in (NestedTensor([video, sound + 0.1]), NestedTensor([video + 0.1, sound]), NestedTensor([video]), video):
        assert caching.report_of("nested", other) is None


def test_report_says_that_it_can_not_be_told_and_passes_the_latent_on(monkeypatch):
    monkeypatch.setattr(ReCacheReport, "hidden", SimpleNamespace(prompt=None, extra_pnginfo=None), raising=False)
    attached = caching.attach(models(FAMILY)[0], settings(0.4))
    ksampler(FAMILY, steps=5)(attached)
    latent = {"samples": torch.zeros(1, *FAMILIES[FAMILY].latent_shape)}
    passed, text, picture, known = ReCacheReport.execute(latent, attached).args
    assert passed is latent and text.startswith("It can't be told how this latent was made") and known == "null"
    assert picture.shape == (1, *picture.shape[1:3], 3)


# ---- things that go wrong


@BOTH
def test_nan_from_the_model_ends_caching(cache_point):
    calls = []

    def spoil(module, args, output):
        calls.append(0)
        return output * float("nan") if len(calls) > 4 else output

    handle = models(FAMILY)[0].model.diffusion_model.register_forward_hook(spoil)
    try:  # every evaluation calls the network at `blocks`, only computed ones at `output`
        computed = {0, 2, 4, 6} if cache_point == "blocks" else {0, 1, 2, 3, 5, 7}
        trace = run(FAMILY, settings(computed=computed, cache_point=cache_point), steps=10)
    finally:
        handle.remove()
    spoiled = 4 if cache_point == "blocks" else 5
    assert trace.report.notes == [Reason("not_finite", {"index": spoiled})]
    assert trace.report.computed == trace.computed
    assert trace.report.computed[-(10 - spoiled):] == list(range(spoiled, 10))
    assert run(FAMILY, settings(0.5, cache_point=cache_point)).samples.isfinite().all()


@BOTH
def test_a_schedule_that_cannot_be(cache_point):
    def schedule(times, cached_cost):
        raise ValueError(f"Evaluation 99 does not exist in a run of {len(times)}.")

    trace = run(FAMILY, caching.CacheConfig(schedule=schedule, cache_point=cache_point), steps=6)
    assert torch.equal(trace.samples, run(FAMILY, None, steps=6).samples)
    message = "Evaluation 99 does not exist in a run of 6."
    assert trace.report.notes == [Reason("schedule_refused", {"message": message})]
    assert trace.report.computed == trace.with_network == list(range(6))


def test_a_budget_that_blocks_cannot_keep_is_kept_at_the_output():
    def schedule(times, cached_cost):
        if cached_cost:
            raise ValueError("cached evaluations cost too much")
        return tuple(i % 2 == 0 for i in range(len(times)))

    trace = run(FAMILY, caching.CacheConfig(schedule=schedule, cache_point="blocks"), steps=6)
    assert trace.report.cache_point == "output"
    assert trace.report.cache_point_reason.code == "cached_too_expensive"
    assert 0 < trace.report.cache_point_reason.fields["percent"] < 100
    assert trace.with_network == [0, 2, 4]


@pytest.mark.parametrize("mechanism, cache_point", [("taylor", "output"), ("taylor", "blocks"), ("dicache", "blocks")])
def test_the_device_of_the_settings_is_that_of_every_history(mechanism, cache_point, monkeypatch):
    devices = []
    record = History.record

    def spy(self, *args):
        devices.append(self.device)
        record(self, *args)

    monkeypatch.setattr(History, "record", spy)
    for chosen, device in (("auto", None), ("cpu", torch.device("cpu"))):
        devices.clear()
        run(FAMILY, settings(computed={0, 2}, cache_device=chosen, cache_point=cache_point, mechanism=mechanism))
        assert devices and set(devices) == {device}


# ---- other nodes


def test_a_compiled_model_is_cached_at_its_output():
    torch._dynamo.reset()
    model = models("sd3")[0].clone()
    set_torch_compile_wrapper(model, backend="eager")
    trace = observe(model, settings(computed={0, 2}, cache_point="blocks"), ksampler("sd3", steps=4))
    assert trace.report.cache_point == "output"
    assert trace.report.cache_point_reason == Reason("compiled")
    assert trace.report.computed == [0, 2] and not trace.report.notes
    assert trace.samples.isfinite().all()


def test_a_model_of_compiled_blocks_is_cached_after_them_and_charged_as_one_that_is_not():
    torch._dynamo.reset()
    model = models("sd3")[0].clone()
    set_torch_compile_wrapper(
        model, backend="aot_eager", keys=[f"diffusion_model.joint_blocks.{i}" for i in range(2)])
    config = settings(computed={0, 2}, cache_point="blocks")
    trace = observe(model, config, ksampler("sd3", steps=4))
    assert trace.report.cache_point == "blocks"
    assert trace.report.computed == [0, 2] and not trace.report.notes
    plain = run("sd3", config, steps=4)
    assert trace.report.cached_cost == plain.report.cached_cost > 0.01
    torch.testing.assert_close(trace.samples, plain.samples, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("error", [RuntimeError("no numbers"), torch.OutOfMemoryError("no room")], ids=str)
def test_a_latent_that_cannot_be_told_from_others_ends_no_run(error, monkeypatch):
    def fail(samples):
        raise error

    monkeypatch.setattr(caching.run, "fingerprint", fail)
    trace = run(FAMILY, settings(computed={0, 2}), steps=4)
    assert trace.samples.isfinite().all()
    assert trace.report.finished and trace.report.computed == [0, 2]


@pytest.mark.parametrize("node", [EasyCacheNode, LazyCacheNode])
@pytest.mark.parametrize("recache_first", [True, False])
@pytest.mark.parametrize("cache_point", ["output", "blocks", "auto"])
def test_another_cache_on_the_same_model(node, recache_first, cache_point):
    """It may take evaluations away, but the run ends, and the report says what ran and that another node is there."""
    recache = settings(computed={0, 1, 2, 5, 6, 9}, cache_point=cache_point)
    name = "wan21_t2v"

    def sample(model):
        model = node.execute(model, 50.0, 0.0, 1.0, False).args[0]
        return ksampler(name, steps=12)(model if recache_first else caching.attach(model, recache))

    trace = observe(models(name)[0], recache if recache_first else None, sample)
    report = caching.reports_of(recache.identity)[-1]
    assert report.finished
    assert {note.code for note in report.notes} & {"another_node_skipped", "left_plan"}, report
    if recache_first and node is EasyCacheNode:  # it answers inside of the network, in place of the blocks
        assert report.computed == trace.with_blocks
    again = run(name, settings(0.5), steps=6)
    assert again.report.computed == again.report.planned


def test_a_report_that_can_not_be_shown_does_not_fail_the_run():
    def broken(report):
        raise RuntimeError("no page")

    trace = run("sd3", settings(computed={0, 2}, published=broken), steps=4)
    assert trace.samples.isfinite().all()
    assert trace.report.finished


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [({"mechanism": "warp"}, "no mechanism 'warp'"), ({"order": 4}, "order of taylor is 4"),
     ({"cache_point": "moon"}, "no cache point 'moon'")])
def test_settings_that_can_not_be_are_refused_at_once(wrong, sentence):
    with pytest.raises(ValueError, match=sentence):
        settings(computed={0}, **wrong)


def test_every_evaluation_is_told_with_the_schedule(caplog):
    told = []
    run("sd3", settings(computed={0, 2}, evaluated=lambda *evaluation: told.append(evaluation)), steps=4)
    schedule = (True, False, True, False)
    assert told == [(i, computed, schedule) for i, computed in enumerate(schedule)]

    def broken(index, computed, schedule):
        raise RuntimeError("no page")

    trace = run("sd3", settings(computed={0, 2}, evaluated=broken), steps=4)
    assert trace.report.finished and "could not be shown" in caplog.text


def test_time_is_taken_on_the_models_own_device(monkeypatch):
    """Also where another GPU is the current one, as after a run of the host that used several."""
    asked = []

    class Event:
        def __init__(self, enable_timing):
            self.stream = None

        def record(self, stream):
            self.stream = stream

        def elapsed_time(self, end):
            return 250.0 if self.stream == end.stream == "stream of cuda:1" else 0.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: asked.append(str(device)))
    clock = Clock(torch.device("cuda", 1))
    with clock.span():
        pass
    assert clock.seconds() == [0.25] and asked == ["cuda:1"]
