"""Rollouts that begin alike share what the network computed, and end as if each had computed all of its own."""

from __future__ import annotations

import random
import weakref
from dataclasses import replace
from functools import partial
from itertools import pairwise

import comfy.model_management
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import KSAMPLER
from safetensors.torch import load_file, save_file

from recache import caching
from recache.caching import prefix_run, sampler_nodes
from recache.nodes.training.objective import Objective
from recache.nodes.training.request import Progress
from recache.nodes.training.rollouts import Rollouts
from recache.policies.learning.environment import Memo
from recache.policies.learning.local_search import singles
from recache.policies.schedule import from_indices
from tests.sampling import UNLISTED, models
from tests.tiny.families import FAMILIES
from tests.tiny.training import REQUEST, N, flow, trained

pytestmark = pytest.mark.usefixtures("host")
PLENTY = 1 << 30
SHORT = replace(REQUEST, evaluations=180)


def asked(n: int, seed: int = 0) -> list:
    """Schedules as a search asks for them: near moves of one, others of another k, and one anew at the end."""
    start = from_indices([0, 1, 3, 6, 9], n)
    near = [move.apply(start) for move in singles(start, 2)]
    random.Random(seed).shuffle(near)
    return [start, *near[:3], from_indices([0, 1, 3], n), from_indices([0, 1, 2, 3, 4, 7], n), start]


class Blocks:
    """Counts, apart from the pack, how often the last block of a model's network runs; of a UNet, all of it."""

    def __init__(self, model):
        self.calls = 0
        network = model.model.diffusion_model
        lists = [child for name, child in network.named_children() if "blocks" in name and name not in UNLISTED]
        self.handle = (lists[-1][-1] if lists else network).register_forward_hook(self._called)

    def _called(self, *_):
        self.calls += 1

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.handle.remove()


def rollouts(run, mechanism="taylor", order=1, cache_point="output", max_bytes=PLENTY, seeds=(3, 4)):
    """The environment whole and shared, for a sample of every seed."""
    samples = [sample for seed in seeds for sample in run.samples(1, seed)]
    n, objective = len(run.dry_run()), Objective()
    seen = [torch.zeros_like(run.latent)] * len(samples)
    make = partial(Rollouts, run, n, samples, seen, objective, mechanism, order, cache_point)
    prefix_cache = caching.PrefixCache(max_bytes)
    return make(), make(prefix_cache), prefix_cache


def check(run, schedules=None, **options) -> tuple[Memo, int, int]:
    """Whole and shared runs are the same to the bit; the shared environment's Memo, and the calls of the last block."""
    whole, shared, _ = rollouts(run, **options)
    memo, calls = Memo(shared), [0, 0]
    schedules = schedules or asked(whole.n)
    with torch.inference_mode():
        for sample in range(whole.samples):
            for schedule in schedules:
                with Blocks(run.model) as blocks:
                    expected = whole.run(schedule, sample)
                calls[0] += blocks.calls
                with Blocks(run.model) as blocks:
                    memo.cost(schedule, sample)
                    found = shared.run(schedule, sample)
                calls[1] += blocks.calls
                assert torch.equal(found, expected)
                assert shared.report.cache_point == whole.report.cache_point
                assert shared.report.prefix_hits == list(schedule.indices) or "max_bytes" in options
                assert whole.report.prefix_hits == []
    return memo, *calls


@pytest.mark.parametrize("mechanism, order, cache_point, cfg", [
    ("reuse", 1, "output", 2.0), ("residual", 1, "output", 1.0), ("taylor", 3, "output", 2.0),
    ("hermite", 2, "output", 1.0), ("reuse", 1, "blocks", 1.0), ("residual", 1, "blocks", 2.0),
    ("taylor", 1, "blocks", 1.0), ("hermite", 2, "blocks", 2.0), ("dicache", 1, "blocks", 2.0),
    ("meancache", 1, "output", 2.0)])
def test_shared_rollouts_are_whole_ones_to_the_bit_and_compute_what_is_counted(mechanism, order, cache_point, cfg):
    seeds = (3, 4) if mechanism in ("residual", "dicache") else (3,)
    memo, whole, shared = check(flow(cfg=cfg), mechanism=mechanism, order=order, cache_point=cache_point, seeds=seeds)
    distinct = {schedule.computed: schedule.k for schedule in asked(N)}
    assert memo.unshared == len(seeds) * sum(distinct.values())
    assert shared == memo.evaluations < 0.6 * memo.unshared  # 1 call an evaluation: both conds are in one batch
    assert whole > 1.5 * shared and memo.rollouts == len(seeds) * len(distinct)


@pytest.mark.parametrize("name", ["wan21_t2v", "sd15"])
def test_other_families_share(name):
    memo, _, shared = check(flow(name, cfg=2.0), mechanism="taylor", cache_point="auto", seeds=(3,))
    assert shared == memo.evaluations < memo.unshared


@pytest.mark.parametrize("sampler", ["heun", "dpmpp_2m", "euler_ancestral", "dpmpp_2m_sde", "dpmpp_2m_cfg_pp",
                                     "uni_pc"])
def test_samplers_with_memory_or_seeded_noise_share_too(sampler):
    family = FAMILIES["flux"]
    run = sampler_nodes.ksampler(models("flux")[0], [family.conditioning()], N, 1.5, sampler, "normal", 1.0,
                            {"samples": torch.zeros(1, *family.latent_shape)}, 3)
    memo, _, shared = check(run, seeds=(3,))
    assert shared == memo.evaluations < memo.unshared


def test_inpainting_shares():
    family = FAMILIES["flux"]
    mask = torch.zeros(1, 1, *family.latent_shape[1:])
    mask[..., :4] = 1.0
    run = sampler_nodes.ksampler(models("flux")[0], [family.conditioning()], N, 3.0, "euler", "normal", 0.6,
                            family.latent(seed=5) | {"noise_mask": mask}, 3)
    memo, _, shared = check(run, seeds=(3,))
    assert shared == memo.evaluations < memo.unshared


@pytest.mark.parametrize("cache_point, seeds", [("output", (3, 4)), ("blocks", (3,))])
def test_little_memory_costs_evaluations_and_nothing_else(cache_point, seeds):
    run = flow()
    _, shared, prefix_cache = rollouts(run, cache_point=cache_point)
    shared.cost(from_indices([0, 1, 5], N), 0)
    size = prefix_cache.bytes // len(prefix_cache)
    memo, _, computed = check(run, cache_point=cache_point, max_bytes=3 * size, seeds=seeds)
    assert computed > memo.evaluations
    _, shared, prefix_cache = rollouts(run, cache_point=cache_point, max_bytes=3 * size)
    for schedule in asked(N):
        shared.cost(schedule, 0)
        assert 0 < prefix_cache.bytes <= 3 * size
    assert prefix_cache.recomputed > 0
    prefix_cache.clear()
    assert prefix_cache.bytes == len(prefix_cache) == 0


def counting(model):
    """The MODEL with a node's work on it that makes every call of the network depend on those before it."""
    model, calls = model.clone(), []

    def wrapper(executor, x, *args, **kwargs):
        calls.append(0)
        return executor(x, *args, **kwargs) * (1.0 + 0.001 * len(calls))

    def begin(executor, *args, **kwargs):
        calls.clear()
        return executor(*args, **kwargs)

    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "counting", wrapper)
    model.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, "counting", begin)
    return model


def noisy(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """A sampler with noise of its own, from no seed."""
    for sigma, after in pairwise(sigmas):
        denoised = model(x, sigma * x.new_ones(len(x)), **extra_args)
        x = denoised + after * torch.randn_like(x)
    return x


@pytest.mark.parametrize("kind", ["calls that depend on those before", "noise from no seed"])
def test_where_rollouts_do_not_repeat_each_computes_all_of_its_own(kind, tmp_path):
    family, run = FAMILIES["flux"], flow()
    if kind == "noise from no seed":
        run.sampler = KSAMPLER(noisy)
    else:
        run = sampler_nodes.ksampler(counting(models("flux")[0]), [family.conditioning()], N, 1.0, "euler", "simple",
                                     1.0, {"samples": torch.zeros(1, *family.latent_shape)}, 3)
    result = trained(tmp_path, SHORT, run)
    assert result.shared == 0 and not load_file(tmp_path / "probe.safetensors")["shares"]


def test_training_asks_the_same_whether_it_shares_or_not(tmp_path):
    request = replace(REQUEST, evaluations=250)  # with fewer the whole one has no start but the default
    shared = trained(tmp_path / "shared", request)
    probe = load_file(tmp_path / "shared" / "probe.safetensors")
    assert probe["shares"] and shared.shared > 0.3 * shared.evaluations["rollouts"]
    (tmp_path / "whole").mkdir()
    save_file(probe | {"shares": torch.tensor(False)}, tmp_path / "whole" / "probe.safetensors")
    whole = trained(tmp_path / "whole", request)
    assert whole.shared == 0
    questions = [(tmp_path / name / "costs.jsonl").read_text().splitlines() for name in ("whole", "shared")]
    assert len(questions[0]) < len(questions[1]) and questions[1][:len(questions[0])] == questions[0]


@pytest.mark.parametrize("end", ["finished", "cancelled", "failed"])
def test_nothing_is_left_of_the_prefix_cache(end, tmp_path, monkeypatch):
    refs, rollouts = [], []

    def spy(tensor):
        copy = tensor.detach().to("cpu", copy=True)
        refs.append(weakref.ref(copy))
        return copy

    def on_rollout(*_):
        rollouts.append(0)
        if len(rollouts) == 20 and end == "cancelled":
            comfy.model_management.interrupt_current_processing()
        if len(rollouts) == 20 and end == "failed":
            raise RuntimeError("failed")

    monkeypatch.setattr(prefix_run, "cpu_copy", spy)
    run, error = flow(), None
    try:
        trained(tmp_path, SHORT, run, progress=Progress(on_rollout=on_rollout))
    except (RuntimeError, comfy.model_management.InterruptProcessingException) as raised:
        error = raised  # alive with its traceback, as where the host shows it
    assert (error is None) == (end == "finished")
    comfy.model_management.interrupt_current_processing(False)
    assert len(refs) > 20 and not any(ref() is not None for ref in refs)
