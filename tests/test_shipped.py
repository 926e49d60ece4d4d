"""The shipped policies of real models: what the script makes of published schedules, and who gets them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import comfy.samplers
import numpy as np
import pytest
import torch
from comfy.model_sampling import CONST, ModelSamplingDiscreteFlow, ModelSamplingFlux

from recache.caching import RunSettings
from recache.caching.dry_run import dry_run
from recache.nodes.library import resolve
from recache.nodes.library.folders import SHIPPED
from recache.nodes.library.ranking import Target
from recache.nodes.server import graph
from recache.policies.defaults import default_schedule
from recache.policies.policy_file import PolicyFile, load
from tests.ship_policies import HALF_CACHED, MODELS, N, from_published, published

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture(scope="module")
def made() -> dict[str, PolicyFile]:
    return {file.about.name: file for file in from_published()}


def test_the_files_are_what_the_script_makes(made):
    assert len(made) == 12
    for name, file in made.items():
        shipped = load(f"{name}.safetensors", SHIPPED)
        assert replace(shipped.about, pack_version="") == replace(file.about, pack_version="")
        assert (shipped.policy.budgets, shipped.validation) == (file.policy.budgets, {})
        assert shipped.policy.times == file.policy.times and np.array_equal(shipped.policy.logits, file.policy.logits)


def test_schedules_are_as_published_and_the_default_where_less_than_half_is_cached(made):
    rows = published()
    assert {model for model, _, _ in rows} == set(MODELS) and all(set(found) == {9, 13, 21} for found in rows.values())
    flux = made["flux1-dev-published"].policy
    assert flux.schedule(9).indices == (0, 1, 2, 5, 11, 20, 29, 40, 49)
    for file, found in zip(made.values(), rows.values()):
        for k, indices in found.items():
            assert file.policy.schedule(k).indices == tuple(indices)
            assert indices[-1] == N - 1
        for k in range(HALF_CACHED, N):
            assert file.policy.schedule(k).computed == default_schedule(N, k).computed
        for k in range(1, N):
            assert file.policy.schedule(k).k == k
        for k in range(1, 21):
            assert file.policy.schedule(k, np.linspace(1.0, 0.05, 20)).k == k


def test_every_file_says_where_it_comes_from_and_what_it_is_not(made):
    for file in made.values():
        for words in ("nanguoyu/Golden-Path-Hypothesis, MIT", "not measured by us", "20 and 30, carried over"):
            assert words in file.about.notes


@pytest.mark.parametrize("mechanism, order, name", [
    ("taylor", 2, "flux1-dev-published"), ("taylor", 1, "flux1-dev-published"),
    ("auto", 1, "flux1-dev-published"), ("residual", 1, "flux1-dev-residual-published"),
    ("meancache", 1, "flux1-dev-with-meancache-published")])
def test_auto_takes_the_one_of_the_mechanism(made, mechanism, order, name):
    times = made[name].policy.times
    target = Target(mechanism, order, "auto", 0.2, RunSettings("euler", times, 1.0, (1024, 1024)))
    assert resolve.best_for(MODELS["flux1-dev"].layout, target).about.name == name


@pytest.mark.parametrize("name, schedule", [
    ("flux1-dev", ModelSamplingFlux), ("qwen-image", ModelSamplingFlux), ("hunyuan-video", ModelSamplingDiscreteFlow),
    ("wan2.1-t2v-1.3b", ModelSamplingDiscreteFlow)])
def test_the_times_are_those_of_fifty_steps_in_comfyui(name, schedule):
    class Flow(schedule, CONST):
        pass

    real = MODELS[name]
    flow = Flow()
    flow.set_parameters(shift=real.shift)
    sigmas = comfy.samplers.calculate_sigmas(flow, "simple", N)
    guider = SimpleNamespace(model_patcher=graph.model_stub(flow))
    run = dry_run(comfy.samplers.sampler_object("euler"), sigmas, guider, (1, 16, 8, 8))
    assert torch.allclose(torch.tensor(run.times), torch.tensor(real.times()), atol=2e-3)
