"""Budget 1.0 is the host as it is, to the bit, and nothing of ReCache stays on a model that it was put on."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import SAMPLER_NAMES, CFGGuider, sampler_object, sampling_function

from recache import caching
from recache.caching import workflow
from recache.nodes.budget import ReCacheBudget
from recache.nodes.report import ReCacheReport
from tests.bench.families import streams
from tests.sampling import advanced, ksampler, models, observe, run, settings
from tests.tiny.families import FAMILIES, IN_SUITE

pytestmark = pytest.mark.usefixtures("host")
FAMILY = "sd3"
CFG = {sampler: (1.0, 4.0)[i % 2] for i, sampler in enumerate(SAMPLER_NAMES)}


def sampled(name: str, recache, **options) -> tuple[torch.Tensor, torch.Tensor]:
    """What a run makes, and the state of torch's global generator after it."""
    torch.manual_seed(5)
    return run(name, recache, **options).samples, torch.get_rng_state()


@cache
def uncached(sampler: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A run of four steps without ReCache."""
    return sampled(FAMILY, None, sampler=sampler, steps=4, cfg=CFG[sampler])


def assert_same(one, other) -> None:
    assert all(map(torch.equal, streams(one[0]), streams(other[0])))
    assert torch.equal(one[1], other[1]), "the global random numbers went on differently"


@pytest.mark.parametrize("name", IN_SUITE)
def test_a_full_budget_is_identical_for_every_family(name):
    options = {"steps": 3, "cfg": 4.0, "batch": 2 if FAMILIES[name].batches and name != "sdxl" else 1}
    full = settings(1.0)
    assert_same(sampled(name, full, **options), sampled(name, None, **options))
    assert caching.reports_of(full.identity)[0].computed == [0, 1, 2]


@pytest.mark.parametrize("sampler", SAMPLER_NAMES)
def test_a_full_budget_is_identical_for_every_sampler(sampler):
    full = settings(1.0)
    assert_same(sampled(FAMILY, full, sampler=sampler, steps=4, cfg=CFG[sampler]), uncached(sampler))
    report = caching.reports_of(full.identity)[0]
    assert report.computed == list(range(report.evaluations)) and report.evaluations >= 4


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "dpmpp_sde", "ddim", "heunpp2"])
@pytest.mark.parametrize("cache_point", ["blocks", "output"])
def test_a_cached_run_leaves_the_random_numbers_alone(sampler, cache_point):
    """Nothing draws from the global generator but what the sampler itself draws."""
    recache = settings(0.5, cache_point=cache_point)
    _, state = sampled(FAMILY, recache, sampler=sampler, steps=4, cfg=CFG[sampler])
    assert torch.equal(state, uncached(sampler)[1])
    report = caching.reports_of(recache.identity)[0]
    assert len(report.computed) < report.evaluations


def state(model) -> tuple:
    """What ReCache could have left on a MODEL or on the network that its clones share."""
    options = model.model_options
    return (
        repr(options), repr(model.wrappers), repr(model.callbacks), sorted(model.object_patches), sorted(model.patches),
        [(name, id(module), len(module._forward_hooks), len(module._forward_pre_hooks), sorted(vars(module)))
         for name, module in model.model.named_modules()],
        [(name, id(tensor), tensor._version) for name, tensor in model.model.state_dict(keep_vars=True).items()],
    )


@pytest.mark.parametrize("cache_point", ["blocks", "output"])
@pytest.mark.parametrize("name", ["sd3", "flux", "wan21_t2v", "hunyuan_video", "sd15"])
def test_a_model_that_had_the_node_is_as_if_it_never_had(name, cache_point):
    model = models(name)[0]
    before = run(name, None, cfg=4.0).samples
    untouched = state(model)
    cached = run(name, settings(0.4, cache_point=cache_point), cfg=4.0)
    assert not torch.equal(cached.samples, before)
    assert state(model) == untouched
    assert torch.equal(run(name, None, cfg=4.0).samples, before)


def test_attaching_changes_the_clone_only():
    model = models(FAMILY)[0]
    untouched = state(model)
    attached = caching.attach(model, settings(0.4))
    assert state(model) == untouched
    assert caching.config_of(model) is None and caching.config_of(attached) is not None


def test_the_kept_model_is_the_same_before_and_after_a_run():
    """ComfyUI keeps a node's MODEL and uses it in the next run: it must not hold anything of the last."""
    attached = caching.attach(models(FAMILY)[0], settings(0.4))
    before = state(attached)
    first = ksampler(FAMILY)(attached)
    assert state(attached) == before
    assert torch.equal(ksampler(FAMILY)(attached), first)


def test_the_last_of_two_nodes_counts():
    first, last = settings(0.5), settings(0.2)
    model = caching.attach(caching.attach(models(FAMILY)[0], first), last)
    for kind in (WrappersMP.OUTER_SAMPLE, WrappersMP.PREDICT_NOISE, WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL):
        assert len(model.get_wrappers(kind, "recache")) <= 1
    samples = ksampler(FAMILY, steps=10)(model)
    assert not caching.reports_of(first.identity)
    assert len(caching.reports_of(last.identity)) == 1
    assert torch.equal(samples, observe(models(FAMILY)[0], settings(0.2), ksampler(FAMILY, steps=10)).samples)


@pytest.mark.parametrize("computes_all", [True, False])
def test_a_sampler_is_not_run_dry_where_everything_is_computed_anyway(computes_all):
    used = []

    class Sampler:
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *args):
            used.append(torch.is_tensor(noise) and noise.shape[-1])
            for sigma in sigmas[:-1]:
                noise = model_wrap(noise, sigma * noise.new_ones(1), **extra_args)
            return noise

    recache = settings(1.0, computes_all=computes_all)
    trace = observe(models(FAMILY)[0], recache, advanced(FAMILY, Sampler(), torch.tensor([1.0, 0.6, 0.2, 0.0])))
    assert len(used) == (1 if computes_all else 4)
    report = trace.report
    assert report.planned == report.computed == [0, 1, 2] and report.evaluations == len(report.times) == 3
    assert report.cache_point == "none" and report.cache_point_reason == caching.Reason("all_computed")
    assert not report.notes and not report.unplanned and report.planned_speedup == 1.0
    assert report.measured_speedup is None, "nothing was cached"


def test_a_node_that_replaces_the_models_options_leaves_caching_as_it_is():
    def replacing(model):
        model.model_options["transformer_options"] = {}
        return ksampler(FAMILY, steps=6)(model)

    trace = observe(models(FAMILY)[0], settings(computed={0, 3}), replacing)
    assert trace.report.computed == trace.with_network == [0, 3] and trace.report.finished


def test_the_planned_speed_up_is_the_plans_though_a_run_was_stopped():
    report = caching.Report("taylor", 1, evaluations=60, times=tuple(range(20)), planned=[0, 5, 10, 15])
    assert report.planned_speedup == 5.0


class Scheduled(CFGGuider):
    """Has a cfg for every step, as other packs' guiders do."""

    def set_cfg(self, cfg):
        self.cfg = [cfg + 0.5 * i for i in range(6)]

    def predict_noise(self, x, timestep, model_options, seed=None):
        options = model_options["transformer_options"]
        step = int((options["sample_sigmas"] >= float(timestep[0])).sum()) - 1
        return sampling_function(self.inner_model, x, timestep, self.conds.get("negative"), self.conds.get("positive"),
                                 self.cfg[step], model_options=model_options, seed=seed)


def test_a_guider_with_a_cfg_for_every_step():
    def guider(model):
        made = Scheduled(model)
        made.set_conds(*FAMILIES["flux"].conditioning())
        made.set_cfg(2.0)
        return made

    sample = advanced("flux", sampler_object("euler"), torch.linspace(0.9, 0.0, 7), guider=guider)
    model = ReCacheBudget.execute(models("flux")[0], 0.5, "auto", mechanism="auto").args[0]
    trace, report = observe(model, None, sample), caching.reports_of(caching.config_of(model).identity)[-1]
    assert trace.with_network == report.planned == report.computed and len(report.planned) == 3 and report.cfg is None
    with torch.inference_mode():
        flow = workflow.Workflow([guider(models("flux")[0])], sampler_object("euler"), torch.linspace(0.9, 0.0, 7),
                                 FAMILIES["flux"].empty(), 1, lambda k: torch.linspace(0.9, 0.0, k + 1), "simple")
    assert flow.cfg == 1.0


def test_nodes_that_another_packs_code_executes_have_no_hidden_inputs():
    """And a script may send no policy, which is auto."""
    assert ReCacheBudget.hidden is None
    model = ReCacheBudget.execute(models(FAMILY)[0], 0.5, None).args[0]
    samples = ksampler(FAMILY, steps=6)(model)
    text = ReCacheReport.execute({"samples": samples}, model).args[1]
    assert text.startswith("3 of 6 computed")
    assert ReCacheBudget.fingerprint_inputs(policy=None) == ReCacheBudget.fingerprint_inputs(policy="auto")
