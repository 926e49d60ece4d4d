"""The plan that the page shows before a run: what the run then does, without loading a model or touching a run."""

from __future__ import annotations

import json
import shutil
import urllib.error
import urllib.request
from types import SimpleNamespace

import comfy.samplers
import pytest
import torch

from recache.caching import model_identity
from recache.caching.dry_run import dry_run, dry_run_without_rng
from recache.nodes.library.folders import SHIPPED
from recache.nodes.server import graph, knees, model_header, plan, planned_run, routes, run_state
from recache.policies.policy_file import load
from tests.hosting.plans import (
    ADVANCED,
    CUSTOM,
    LOADER,
    NODE,
    PAGE,
    SETTINGS,
    WORKFLOW,
    asked,
    deep,
    ksampler,
    queued,
    save_variants,
    shifted,
)
from tests.hosting.server import emptied
from tests.trained import WEIGHTS


@pytest.fixture(scope="module")
def models(server):
    shutil.copy(WEIGHTS / "flux.safetensors", server.models / "diffusion_models" / "plan_flux.safetensors")
    with emptied(server.models / "recache"):
        yield


@pytest.fixture
def client(client, models):
    """Of a server that has the model, and no policies but the pack's."""
    return client


@pytest.fixture
def own_model(models_dir):
    shutil.copy(WEIGHTS / "flux.safetensors", models_dir / "diffusion_models" / "plan_flux.safetensors")
    return LOADER


def request(*args, **more) -> plan.PlanRequest:
    return routes.parse(json.dumps(asked(*args, **more)).encode())


@pytest.mark.parametrize("sampler, settings, model", [
    (ksampler(), {}, LOADER),
    (ksampler(shifted(3.0)), {}, shifted(3.0)),
    (ksampler(sampler_name="heun", scheduler="beta", steps=6), {"budget": 0.45}, LOADER),
    (ksampler(sampler_name="uni_pc", denoise=0.6), {"policy": "demo-wan-taylor1.safetensors"}, LOADER),
    (ksampler(), {"policy": "list", "evaluations": "0-2, 7"}, LOADER),
    (ksampler(), {"policy": "uniform", "mechanism": "reuse", "cache_point": "output"}, LOADER),
    (ADVANCED, {"policy": "uniform"}, LOADER),
    (CUSTOM, {}, LOADER),
], ids=["auto", "shifted", "heun", "named", "list", "output", "advanced", "custom"])
def test_the_plan_is_what_the_run_then_does(client, sampler, settings, model):
    told = client.post(routes.ROUTE, asked(sampler, settings))
    assert told["provisional"] == [] and told["refusal"] is None and told["run"] is None
    result = client.run(queued(sampler, {**SETTINGS, **settings}, model), PAGE).check()
    report = json.loads(result.outputs["json"]["text"][0])
    assert told["computed"] == report["planned"] == report["computed"]
    assert told["n"] == report["evaluations"] and told["speedup"] == pytest.approx(report["planned_speedup"])
    after = client.post(routes.ROUTE, asked(sampler, settings))
    assert after["run"]["speedup"] == pytest.approx(report["measured_speedup"])
    assert after["run"]["computed"] == report["computed"] and after["run"]["over"] and after["run"]["finished"]
    other = client.post(routes.ROUTE, asked(sampler, {"budget": 0.9, "policy": "uniform"}))
    assert other["run"] is None


def test_no_node_shows_the_figures_of_another_workflow_or_model(client):
    sampler, settings = ksampler(steps=7), {"policy": "uniform"}
    prompt = queued(sampler, {**SETTINGS, **settings}, LOADER)
    client.run(prompt).check()  # by a script
    other_size = {**prompt["latent"], "inputs": {"width": 80, "height": 64, "batch_size": 1}}
    client.run({**prompt, "latent": other_size}, {"extra_pnginfo": {"workflow": {"nodes": []}}}).check()  # no id
    for workflow in ("opened later", ""):
        assert client.post(routes.ROUTE, asked(sampler, settings) | {"workflow": workflow})["run"] is None
    other_size = {**prompt["latent"], "inputs": {"width": 64, "height": 80, "batch_size": 1}}
    client.run({**prompt, "latent": other_size}, {"extra_pnginfo": {"workflow": {"id": "mine", "nodes": []}}}).check()
    mine = asked(sampler, settings) | {"workflow": "mine"}
    assert client.post(routes.ROUTE, mine)["run"]["evaluations"] == 7


def test_a_run_whose_computed_evaluations_were_moved_is_shown_with_its_plan(client):
    sampler, settings = ksampler(steps=11), {"policy": "uniform"}
    prompt = queued(sampler, {**SETTINGS, **settings}, LOADER)
    for name, start, end in (("early", 0.0, 0.5), ("late", 0.5, 1.0)):
        prompt[name] = {"class_type": "ConditioningSetTimestepRange", "inputs": {
            "conditioning": [{"early": "positive", "late": "negative"}[name], 0], "start": start, "end": end}}
    prompt["both"] = {"class_type": "ConditioningCombine", "inputs": {
        "conditioning_1": ["early", 0], "conditioning_2": ["late", 0]}}
    prompt["sampling"]["inputs"]["positive"] = ["both", 0]
    report = json.loads(client.run(prompt, PAGE).check().outputs["json"]["text"][0])
    told = client.post(routes.ROUTE, asked(sampler, settings))
    assert told["computed"] == report["scheduled"] != report["planned"] == report["computed"]
    assert told["run"]["computed"] == report["computed"] and told["run"]["speedup"] > 0.0
    other = client.post(routes.ROUTE, asked(sampler, settings | {"budget": 0.4}))
    assert other["run"] is None


def test_a_runs_first_event_counts_no_evaluation_twice():
    monitor, events = run_state.RunMonitor(None, None, "", "auto", None), []
    monitor.server = SimpleNamespace(client_id="page", send_sync=lambda name, data, client: events.append(data))
    monitor.evaluated(0, True, (True, False))
    assert events[0]["before"] == [] and events[0]["computed"] and monitor.run.computed == [0]


def test_a_first_samplers_run_is_shown_while_the_next_is_not_there():
    times, run = (1.0, 0.8, 0.6, 0.4), run_state.Run("auto", "reuse", over=True, planned=[0], scheduled=[0],
                                                     times=(1.0, 0.8))
    history = run_state.History(None, "", None, [run])
    assert history.last("reuse", [0, 2], times, (2, 2)) is run
    assert history.last("reuse", [0, 1], times, (2, 2)) is None  # another schedule
    assert history.last("reuse", [0, 2], times, (4,)) is None  # one sampler was cut short, or is another one


def test_a_run_that_could_not_be_planned_is_shown_with_its_reason(client, server):
    sampler, settings = ksampler(steps=13), {"policy": "uniform"}
    prompt = queued(sampler, {**SETTINGS, **settings}, LOADER)
    prompt["windows"] = {"class_type": "ContextWindowsManual", "inputs": {
        "model": [NODE, 0], "context_length": 6, "context_overlap": 2, "context_schedule": "standard_uniform",
        "context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "dim": 2,
        "freenoise": False, "latent_retain_index_list": "", "cond_retain_index_list": "",
        "split_conds_to_windows": False, "causal_window_fix": True}}
    prompt["sampling"]["inputs"]["model"] = ["windows", 0]
    client.run(prompt, PAGE).check()
    assert "ReCache: The context windows move from step to step, so nothing was cached." in server.log()
    told = client.post(routes.ROUTE, asked(sampler, settings))
    assert told["run"]["planned"] is None and [note["code"] for note in told["run"]["notes"]] == ["windows_move"]
    assert client.post(routes.ROUTE, asked(ksampler(steps=14), settings))["run"] is None


def test_a_run_of_another_model_is_not_shown(own_model):
    asks = request(ksampler(own_model))
    planned, computed = plan._planned_run(asks, None, []), plan.plan(asks).computed
    run = run_state.Run("auto", "taylor", planned=computed, scheduled=computed, times=planned.evaluations.times,
                        over=True)
    for layout, shown in ((planned.layout, run), ("another", None)):
        run_state._histories.put((WORKFLOW, NODE), run_state.History(None, layout, None, [run]))
        assert plan.plan(asks).run is shown
    run_state._histories.clear()


def test_the_knee_of_the_last_frontier_is_a_preset_in_its_workflow_for_its_model(own_model):
    asks = request(ksampler(own_model))
    layout = plan._planned_run(asks, None, []).layout
    for workflow, measured, knee in (("mine", layout, None), (WORKFLOW, "another", None), (WORKFLOW, layout, 0.26)):
        knees.remember(workflow, measured, 0.26)
        assert plan.plan(asks).presets.get("knee") == knee
    knees.remember(WORKFLOW, layout, None)  # the next one has none
    assert set(plan.plan(asks).presets) == {"draft", "fast", "balanced", "safe"}
    knees._knees.clear()


def test_what_a_forecast_costs_is_known_after_the_first_run(client):
    settings = {"mechanism": "residual", "cache_point": "blocks", "policy": "uniform", "budget": 0.5}
    sampler = ksampler()
    assert client.post(routes.ROUTE, asked(sampler, settings))["provisional"] == ["cost"]
    result = client.run(queued(sampler, {**SETTINGS, **settings}, LOADER), PAGE).check()
    report = json.loads(result.outputs["json"]["text"][0])
    assert report["cached_cost"] > 0.0
    told = client.post(routes.ROUTE, asked(sampler, settings))
    assert told["provisional"] == [] and told["computed"] == report["computed"] and len(told["computed"]) < 5


@pytest.mark.parametrize("mechanism", ["residual", "dicache"])
def test_what_costs_more_than_the_budget_is_cached_as_the_run_does(client, mechanism):
    sampler = ksampler(steps=20)
    for budget in (0.5, 0.055):  # the first run measures what a cached evaluation costs
        settings = {"mechanism": mechanism, "cache_point": "blocks", "policy": "uniform", "budget": budget}
        told = client.post(routes.ROUTE, asked(sampler, settings))
        result = client.run(queued(sampler, {**SETTINGS, **settings}, LOADER), PAGE).check()
        report = json.loads(result.outputs["json"]["text"][0])
    assert told["provisional"] == []
    if mechanism == "dicache":
        assert told["refusal"]["code"] == "dicache_needs_blocks" and report["planned"] == []
    else:
        assert told["computed"] == report["computed"] == report["planned"] and report["cache_point"] == "output"


def test_a_trained_policy_is_used_whatever_list_the_node_has(client):
    listed = {"policy": "list", "evaluations": "0, nonsense"}
    told = client.post(routes.ROUTE, asked(ksampler(), listed, trained=True))
    evenly = client.post(routes.ROUTE, asked(ksampler(), {"policy": "uniform"}))
    assert told["provisional"] == ["trained"] and told["computed"] == evenly["computed"] != []
    assert told["presets"] == evenly["presets"]


def test_a_model_is_known_from_the_header_of_its_file(own_model, host):
    model = model_header.model(own_model["inputs"])
    assert all(tensor.is_meta for tensor in model.model.diffusion_model.parameters())
    real = comfy.sd.load_diffusion_model(str(host.models / "diffusion_models" / "plan_flux.safetensors"))
    assert model_identity.layout(model.model.diffusion_model) == model_identity.layout(real.model.diffusion_model)
    assert torch.equal(model.model.model_sampling.sigmas, real.model.model_sampling.sigmas)


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x10" + b"\0" * 7 + b"no json, surely!",
                                     b"\x02" + b"\0" * 7 + b"{}", b"\x0e" + b"\0" * 7 + b'{"a": {"b":1}}'])
def test_a_file_that_tells_no_model_makes_the_plan_provisional(models_dir, content):
    (models_dir / "diffusion_models" / "odd.safetensors").write_bytes(content)
    odd = {"type": "UNETLoader", "inputs": {"unet_name": "odd.safetensors"}}
    told = plan.plan(request(ksampler(odd)))
    assert told.provisional == ["model"] and told.n == 10 and len(told.computed) == 3
    model_header._model.cache_clear()
    planned_run._runs.clear()


def test_a_policy_says_what_it_expects(client):
    def plan(*args):
        return client.post(routes.ROUTE, asked(*args))

    told = plan(ksampler(shifted(3.0), steps=50), {"budget": 0.18})["policy"]
    assert told["name"] == "demo-flux-taylor1" and not told["carried"]
    file = load("demo-flux-taylor1.safetensors", SHIPPED)
    table = file.validation[9]
    assert told["tested"]["k"] == 9 and told["tested"]["n"] == 50 and told["tested"]["measure"] == file.about.reward
    assert told["tested"]["less"] == pytest.approx(1 - min(table.values()) / table["uniform"], abs=1e-4) and min(
        table.values()) < table["uniform"]
    assert plan(ksampler(steps=30), {"budget": 0.18})["policy"]["carried"]
    assert plan(ksampler(steps=10))["policy"]["kind"] == "uniform"  # too short a run for a schedule of 50
    gone = plan(ksampler(steps=30), {"policy": "gone.safetensors"})
    assert gone["missing"]["code"] == "policy_missing" and gone["missing"]["fields"]["policy"] == "gone.safetensors"
    assert gone["policy"]["name"] == "demo-flux-taylor1"


@pytest.mark.parametrize("cfg, side, taken", [(1.5, 128, "plain"), (4.0, 128, "guided"), (1.5, 64, "small")])
def test_plan_and_run_take_the_same_of_several_policies(client, server, cfg, side, taken):
    latent = {"type": "EmptySD3LatentImage", "inputs": {"width": side, "height": side, "batch_size": 1}}
    sampler = ksampler(steps=50, cfg=cfg, latent_image=latent)
    folder = server.models / "recache"
    save_variants(folder, plain={"cfg": 1.5}, guided={"cfg": 4.0}, small={"cfg": 1.5, "size": [64, 64]})
    try:
        told = client.post(routes.ROUTE, asked(sampler))
        prompt = queued(sampler, SETTINGS, LOADER)
        prompt["latent"]["inputs"] = latent["inputs"]
        prompt["sampling"]["inputs"]["cfg"] = cfg
        report = json.loads(client.run(prompt, PAGE).check().outputs["json"]["text"][0])
        assert told["policy"]["name"] == taken and told["computed"] == report["planned"]
        assert [note["fields"]["name"] for note in report["notes"]] == [taken]
        assert (report["cfg"], report["size"]) == (cfg, [side, side])
        unknown = asked(ksampler(steps=50))  # a latent and a guidance that the page can't tell are as in the last run
        assert client.post(routes.ROUTE, unknown)["policy"]["name"] == taken
    finally:
        for path in folder.glob("*.safetensors"):
            path.unlink()


def test_what_can_not_be_planned_is_said(own_model):
    assert plan.plan(request(ksampler(sampler_name="dpm_adaptive"))).refusal.code == "sampler_adaptive"
    assert "does not exist" in plan.plan(request(ksampler(), {"policy": "list", "evaluations": "0, 99"})).refusal
    assert not plan.plan(request(None)).n
    with pytest.MonkeyPatch.context() as patch:  # another pack's scheduler, which does not like what it is given
        patch.setattr(graph, "sampling", lambda *_: {}["model_type"])
        assert not plan.plan(request(ksampler(steps=17))).n
    for odd in ({"steps": 10**9}, {"steps": -1}, {"steps": True}, {"denoise": 1e-9}, {"denoise": "x"},
                {"sampler_name": "rm -rf"}, {"scheduler": 7}):
        assert not plan.plan(request(ksampler(**odd))).n
    assert plan.plan(request(ksampler(), trained=True)).provisional == ["trained"]
    assert plan.plan(request(ksampler(), {"budget": None})).provisional == ["input"]


def test_only_hosts_own_nodes_of_samplers_and_noise_levels_are_run(client):
    def sigmas(kind, **inputs):
        return {"type": "SamplerCustom", "inputs": {**CUSTOM["inputs"], "sigmas": {"type": kind, "inputs": inputs}}}

    for refused in (sigmas("SaveImage", filename_prefix="x"), sigmas("UNETLoader", **LOADER["inputs"]),
                    sigmas("no node"),
                    sigmas("BasicScheduler", scheduler="simple", steps=10**8, denoise=1.0, model=LOADER),
                    sigmas("BasicScheduler", scheduler="simple", steps=2000, denoise=0.0001, model=LOADER),
                    sigmas("KarrasScheduler", steps=20, sigma_max=1e9, sigma_min=0.1, rho=7.0)):
        assert not client.post(routes.ROUTE, asked(refused, node="new"))["n"]
    fine = sigmas("KarrasScheduler", steps=12, sigma_max=1.0, sigma_min=0.1, rho=7.0)
    assert client.post(routes.ROUTE, asked(fine))["n"] == 12


@pytest.mark.parametrize("name", comfy.samplers.KSampler.SAMPLERS)
def test_counting_beside_a_run_agrees_with_the_dry_run_and_touches_no_generator(name):
    model_sampling = graph.model_stub().get_model_object("model_sampling")
    sampler, sigmas = comfy.samplers.sampler_object(name), comfy.samplers.calculate_sigmas(model_sampling, "simple", 8)
    whole = dry_run(sampler, sigmas, SimpleNamespace(model_patcher=graph.model_stub(model_sampling)), (1, 1, 8, 8))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    counted = dry_run_without_rng(sampler, sigmas, model_sampling)
    assert torch.equal(torch.get_rng_state(), before)
    assert counted.refusal or (counted.sigmas, counted.times, counted.multistep) == (
        whole.sigmas, whole.times, whole.multistep)
    assert bool(counted.refusal) == bool(whole.refusal) or name == "ar_video"


def test_noise_of_no_generator_is_not_drawn_when_counting():
    def churning(model, x, sigmas, extra_args=None, callback=None, disable=None):
        for sigma in sigmas[:-1]:
            x = model(x + torch.randn_like(x) + torch.rand(x.shape), sigma[None], **(extra_args or {}))
        return x

    model_sampling = graph.model_stub().get_model_object("model_sampling")
    before = torch.get_rng_state()
    counted = dry_run_without_rng(comfy.samplers.KSAMPLER(churning), torch.tensor([1.0, 0.5, 0.0]), model_sampling)
    assert torch.equal(torch.get_rng_state(), before) and counted.sigmas == (1.0, 0.5)

    def seeding(model, x, sigmas, extra_args=None, callback=None, disable=None):
        torch.manual_seed(1)
        return x

    assert dry_run_without_rng(comfy.samplers.KSAMPLER(seeding), torch.tensor([1.0, 0.0]), model_sampling).refusal
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("body", [
    b"", b"no json", b"[]", b"{}", b'{"settings": 3}', b"[" * 100_000, b'{"settings": {}, "sampler": 3}',
    json.dumps(asked(None, {"budget": 0})).encode(), json.dumps(asked(None, {"budget": "a lot"})).encode(),
    json.dumps(asked(None, {"budget": True})).encode(), b'{"settings": {"budget": NaN}}',
    json.dumps(asked(None, {"order": 7})).encode(), json.dumps(asked(None, {"mechanism": "magic"})).encode(),
    json.dumps(asked(None, {"mechanism": ["taylor"]})).encode(),
    json.dumps(asked(None, {"policy": "x" * 5000})).encode(), json.dumps(asked(None, {"policy": 5})).encode(),
    json.dumps(asked({"type": "KSampler"})).encode(), json.dumps(asked({"type": 1, "inputs": {}})).encode(),
    json.dumps(asked({"type": "KSampler", "inputs": {"steps": [1]}})).encode(),
    json.dumps(asked(ksampler(deep(60)))).encode(), b" " * 300_000,
    json.dumps(asked({"type": "x", "inputs": {str(i): LOADER for i in range(300)}})).encode()])
def test_nonsense_gets_a_sentence(server, body):
    post = urllib.request.Request(server.url + routes.ROUTE, body, {"Content-Type": "application/json"})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(post, timeout=30)
    assert caught.value.code == (413 if len(body) > routes.MAX_BYTES else 400)
    error = json.loads(caught.value.read())["error"]
    assert error.endswith(".") and len(error) < 200
    assert not server.complaints()
