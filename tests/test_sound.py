"""Training and Frontier on latents of several parts: video with sound."""

from __future__ import annotations

from types import SimpleNamespace

import comfy.sample
import pytest
import torch
from comfy.nested_tensor import NestedTensor
from comfy_extras.nodes_custom_sampler import KSamplerSelect, ManualSigmas
from comfy_extras.nodes_lt import LTXVScheduler
from nodes import common_ksampler

from recache.caching import CacheConfig, sampler_nodes
from recache.caching.latent_parts import LatentParts
from recache.nodes import budget, frontier, train
from tests.authoring.catalogue import ltx
from tests.sampling import advanced, check_plan, models, observe, settings
from tests.tiny.families import FAMILIES

N = 6
NAME = "ltxav"
pytestmark = pytest.mark.usefixtures("host")


def test_every_part_counts_alike():
    parts = LatentParts(((4, 3, 5, 5), (2, 7)))
    a, b = ([torch.randn(3, *shape) for shape in parts.shapes] for _ in range(2))
    joined = [parts.join(NestedTensor(each)) for each in (a, b)]
    errors = torch.stack([(x - y).square().flatten(1).mean(1) for x, y in zip(a, b)])
    torch.testing.assert_close((joined[0] - joined[1]).square().flatten(1).mean(1), errors.mean(0))
    torch.testing.assert_close(parts.first(joined[0]), a[0])
    alone = LatentParts(((4, 5, 5),))
    assert alone.join(a[0]) is a[0] and alone.first(a[0]) is a[0]


@pytest.fixture
def sampled():
    """The inputs of a KSampler for the tiny LTX-2, video with sound."""
    family = FAMILIES[NAME]
    [model] = models(NAME)
    positive, negative = family.conditioning()
    return {"model": model, "positive": positive, "negative": negative, "latent_image": family.empty(), "seed": 3,
            "steps": N, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


def test_context_windows_are_of_the_pictures_frames(sampled):
    """The host packs all streams into one row of numbers, which is no row of frames."""
    asked = []

    class Handler:
        dim, context_length = 2, 1000

        def get_context_windows(self, *_):
            asked.append(1)

        def execute(self, calc_cond_batch, *args):
            return calc_cond_batch(*args)

        def should_use_context(self, *_):
            return False

    model = sampled.pop("model").clone()
    model.model_options["context_handler"] = Handler()
    steps, start = sampled.pop("steps"), sampled.pop("latent_image")
    trace = observe(model, settings(0.5, cache_point="output"), lambda made: common_ksampler(
        made, sampled["seed"], steps, 1.0, "euler", "simple", sampled["positive"], sampled["negative"], start,
    )[0]["samples"])
    assert not asked and len(trace.report.computed) == N // 2 and not trace.report.notes
    assert len(trace.report.size) == 3 and trace.report.size[0] >= 32


def test_an_uncached_run_is_the_samplers_own(sampled):
    flow = sampler_nodes.ksampler(sampled["model"], [(sampled["positive"], sampled["negative"])], N, 1.0, "euler",
                                  "simple", 1.0, sampled["latent_image"], 3)
    assert flow.has_parts
    [sample] = flow.samples(1, 3)
    with torch.inference_mode():
        whole = common_ksampler(sampled["model"], 3, N, 1.0, "euler", "simple", sampled["positive"],
                                sampled["negative"], sampled["latent_image"])[0]["samples"]
    made = flow.uncached(sample)
    assert torch.equal(made, flow.joined(whole.to("cpu", torch.float32)))
    torch.testing.assert_close(flow.pictures(made), whole.unbind()[0].float())
    everything = CacheConfig(lambda times, cost: (True,) * len(times), cache_point="output")
    assert torch.equal(flow.cached(sample, everything), made)
    video, sound = sampled["latent_image"]["samples"].unbind()
    assert [part.shape[0] for part in flow.samples(2, 3)[1].noise.unbind()] == [1, 1]
    noise = comfy.sample.prepare_noise(NestedTensor([video.repeat(2, 1, 1, 1, 1), sound.repeat(2, 1, 1, 1)]), 3)
    assert all(map(torch.equal, flow.samples(2, 3)[1].noise.unbind(), noise[1:2].unbind()))


def test_a_policy_is_trained_on_video_with_sound(node, sampled):
    policy, _, text = train.ReCacheTrain.execute(
        **sampled, budgets="0.5", samples=1, evaluations=100, minutes=0.0, mechanism="auto", order=1,
        cache_point="output", distance="auto", reward="none", alpha=0.1).args
    k = N // 2
    row = policy.validation[k]
    assert policy.policy.schedule(k).k == k and policy.about.reward == "latent RMSE"
    assert 0.0 < min(row.values()) <= row["default"] and f"{k} of {N}" in text


def test_the_frontier_of_video_with_sound(node, sampled):
    made = frontier.ReCacheFrontier.execute(
        **sampled, budgets="0.5, 0.9", samples=1, fewer_steps=True, policy="uniform", mechanism="auto")
    assert "latent RMSE" in str(made.args)


@pytest.mark.parametrize("name, workflow", [("ltxav", ltx.ltx2), ("ltxav23", ltx.ltx23)], ids=["LTX-2", "LTX-2.3"])
def test_the_first_pass_of_a_shipped_workflow_computes_what_its_note_says(name, workflow, monkeypatch):
    """With the noise levels, sampler, guidance and budget that ComfyUI's template and ours have."""
    monkeypatch.setattr(budget.ReCacheBudget, "hidden", SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None),
                        raising=False)
    [model] = models(name)
    kind, given = workflow.nodes["scheduler"]
    nodes = {"LTXVScheduler": LTXVScheduler, "ManualSigmas": ManualSigmas}
    settings = {**given, "latent": FAMILIES[name].empty()} if "latent" in given else given
    sampler = KSamplerSelect.execute(workflow.nodes["solver"][1]["sampler_name"]).args[0]
    sample = advanced(name, sampler, nodes[kind].execute(**settings).args[0], cfg=workflow.nodes["guider"][1]["cfg"])
    config = budget.budget_config(budget.ReCacheBudget, model, workflow.budget, "auto", mechanism="auto",
                                  cache_point="output")  # tiny networks make `blocks` dear
    trace = observe(model, config, sample)
    check_plan(trace, workflow.budget)
    assert (len(trace.computed), len(trace.evaluations)) == (workflow.computed, workflow.evaluations)
