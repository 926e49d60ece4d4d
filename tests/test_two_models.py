"""One budget over two models that take turns on one latent, such as Wan 2.2's experts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from nodes import common_ksampler

from recache.caching import CacheConfig, sampler_nodes
from recache.caching.workflow import WorkflowError
from recache.nodes.training.samples import SampleSet
from recache.policies.budget import computed_for_budget
from recache.policies.schedule import from_indices
from tests.hosting.plans import SETTINGS
from tests.hosting.server import emptied
from tests.sampling import models
from tests.tiny.families import FAMILIES

HIGH, LOW = "two_high.safetensors", "two_low.safetensors"


@pytest.fixture
def experts(server, tmp_path):
    """Wan 2.2's two experts, tiny, in the server's models folder."""
    for name, path in zip((HIGH, LOW), FAMILIES["wan22_14b"].write(tmp_path)):
        path.replace(server.models / "diffusion_models" / name)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def loaders() -> dict[str, dict]:
    """Both models, a prompt and an empty latent."""
    return {
        "high": node("UNETLoader", unet_name=HIGH, weight_dtype="default"),
        "low": node("UNETLoader", unet_name=LOW, weight_dtype="default"),
        "positive": node("ReCacheTestTextEncode", text="a fox", model="wan"),
        "negative": node("ReCacheTestTextEncode", text="", model="wan"),
        "latent": node("EmptyHunyuanLatentVideo", width=32, height=32, length=5, batch_size=1),
    }


def budgeted(key: str, budget: float, high="high", low="low", **settings: Any) -> dict[str, dict]:
    return {f"budget{key}": node("ReCacheBudgetTwoModels", high_noise=[high, 0], low_noise=[low, 0], budget=budget,
                                 policy="auto", **settings)}


def ksampler(model: list, latent: list, steps: int, begin: int, end: int, sampler: str = "euler") -> dict:
    """One of the two KSamplerAdvanced, as in ComfyUI's template of Wan 2.2."""
    return node("KSamplerAdvanced", model=model, positive=["positive", 0], negative=["negative", 0],
                latent_image=latent, add_noise="disable" if begin else "enable", noise_seed=4, steps=steps, cfg=1.0,
                sampler_name=sampler, scheduler="simple", start_at_step=begin, end_at_step=end,
                return_with_leftover_noise="enable" if end < steps else "disable")


def chain(key: str, models: tuple[list, ...], steps: int, switches: tuple[int, ...], sampler: str = "euler") -> dict:
    """A KSamplerAdvanced for each model, with a switch after so many steps."""
    made, latent = {}, ["latent", 0]
    for i, (model, begin, end) in enumerate(zip(models, (0, *switches), (*switches, steps))):
        made[f"sampler{i}{key}"] = ksampler(model, latent, steps, begin, end, sampler)
        latent = [f"sampler{i}{key}", 0]
    return made


def both(key: str) -> tuple[list, list]:
    return [f"budget{key}", 0], [f"budget{key}", 1]


def reported(key: str, samples: str, model: list) -> dict[str, dict]:
    return {f"report{key}": node("ReCacheReport", samples=[samples, 0], model=model),
            f"json{key}": node("PreviewAny", source=[f"report{key}", 3])}


def reports(client, prompt: dict) -> dict[str, dict]:
    """{key: what ReCache Report tells programs} of a prompt that is queued."""
    result = client.run(prompt).check()
    return {key[4:]: json.loads(result.outputs[key]["text"][0]) for key in prompt if key.startswith("json")}


def codes(report: dict) -> set[str]:
    return {note["code"] for note in report["notes"]}


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_the_budget_is_kept_exactly_over_both(experts, client, sampler):
    cases = [(n, switch, budget) for n, switch in ((4, 1), (4, 2), (8, 4), (13, 3), (14, 9), (20, 19))
             for budget in (0.15, 0.3, 0.77)]
    prompt, expected = loaders(), {}
    for n, switch, budget in cases:
        key = f" {n} {switch} {budget}"
        prompt |= budgeted(key, budget, mechanism="hermite", cache_point="output")
        prompt |= chain(key, both(key), n, (switch,), sampler) | reported(key, f"sampler1{key}", both(key)[1])
        expected[key] = n, switch, budget
    for key, report in reports(client, prompt).items():
        n, switch, budget = expected[key]
        if sampler == "heun":  # its last step is Euler's
            n, switch = 2 * n - 1, 2 * switch
        assert report["evaluations"] == n and report["finished"], key
        assert len(report["computed"]) == max(2, computed_for_budget(budget, n)), key
        assert report["planned"] == report["computed"] and {0, switch} <= set(report["computed"]), key
        assert not report["unplanned"] and codes(report) <= {"worse_than_fewer_steps"}, key
        assert [part["evaluations"] for part in report["parts"]] == [switch, n - switch], key
        assert sum(len(part["computed"]) for part in report["parts"]) == len(report["computed"]), key


def test_a_default_run_is_planned_as_one_and_the_page_knows_the_plan(experts, client):
    """Mechanism and schedule are those of all steps, as if one sampler made them."""
    prompt = loaders() | budgeted("", 0.3, mechanism="auto") | chain("", both(""), 20, (7,))
    prompt |= reported("", "sampler1", both("")[1])
    report = reports(client, prompt)[""]
    assert report["computed"] == [0, 3, 7, 10, 14, 18] and report["mechanism"] == "taylor" and not report["notes"]
    planned = plan(client, prompt, "")
    assert (planned["computed"], planned["n"], planned["parts"]) == (report["computed"], 20, [7, 13])
    assert not planned["provisional"] and planned["speedup"] == pytest.approx(report["planned_speedup"])
    alone = plan(client, prompt, "", later=[])
    assert (alone["n"], alone["parts"]) == (7, [7])


def plan(client, prompt: dict, key: str, later=None) -> dict:
    """The server's plan for a chain of KSamplerAdvanced, as the page asks for it."""
    def tree(id: str, output: int = 0) -> dict:
        links = {name: value for name, value in prompt[id]["inputs"].items()
                 if isinstance(value, list) and name in ("model", "high_noise", "low_noise")}
        plain = {name: value for name, value in prompt[id]["inputs"].items() if not isinstance(value, list)}
        linked = {name: tree(*value) for name, value in links.items()}
        return {"type": prompt[id]["class_type"], "inputs": plain | linked, "output": output}

    samplers = sorted(id for id in prompt if id.startswith("sampler") and id.endswith(key))
    first, *others = map(tree, samplers)
    return client.post("/recache/plan", {"workflow": "", "node": "budget", "sampler": first,
                                         "settings": SETTINGS | {"mechanism": "auto"},
                                         "later": others if later is None else later})


def test_three_samplers_and_split_sigmas_share_a_budget(experts, client):
    prompt = loaders() | budgeted(" three", 0.4, cache_point="output")
    prompt |= chain(" three", (*both(" three"), both(" three")[1]), 15, (5, 9))
    prompt |= reported(" three", "sampler2 three", both(" three")[1])
    prompt |= budgeted(" split", 0.4, cache_point="output") | reported(" split", "low split", both(" split")[1])
    prompt |= {
        "sigmas": node("BasicScheduler", model=["high", 0], scheduler="beta", steps=15, denoise=1.0),
        "split": node("SplitSigmas", sigmas=["sigmas", 0], step=5),
        "euler": node("KSamplerSelect", sampler_name="euler"),
        "noise": node("RandomNoise", noise_seed=2), "none": node("DisableNoise"),
    }
    for part, (model, noise, latent, sigmas) in enumerate(zip(
            both(" split"), ("noise", "none"), ("latent", "high split"), (["split", 0], ["split", 1]))):
        name = ("high", "low")[part]
        prompt |= {
            f"guider {name}": node("BasicGuider", model=model, conditioning=["positive", 0]),
            f"{name} split": node("SamplerCustomAdvanced", noise=[noise, 0], guider=[f"guider {name}", 0],
                                  sampler=["euler", 0], sigmas=sigmas, latent_image=[latent, 0])}
    for key, report in reports(client, prompt).items():
        parts = {" three": [5, 4, 6], " split": [5, 10]}[key]
        assert [part["evaluations"] for part in report["parts"]] == parts, key
        assert len(report["computed"]) == 6 and report["planned"] == report["computed"], key
        assert codes(report) <= {"worse_than_fewer_steps"}, key


def test_steps_that_another_node_changes_only_for_the_second_sampler_count(experts, client):
    """ComfyUI keeps the first sampler's latent; what it spent is taken off the budget of the run as it is now."""
    prompt = loaders() | budgeted("", 0.5, cache_point="output") | chain("", both(""), 12, (6,))
    prompt |= reported("", "sampler1", both("")[1])
    assert [len(part["computed"]) for part in reports(client, prompt)[""]["parts"]] == [3, 3]
    prompt["sampler1"]["inputs"] |= {"end_at_step": 10, "return_with_leftover_noise": "disable"}
    result = client.run(prompt).check()
    report = json.loads(result.outputs["json"]["text"][0])
    assert "sampler0" not in result.executed and "sampler1" in result.executed
    assert [part["evaluations"] for part in report["parts"]] == [6, 4] and len(report["computed"]) == 5


N, SWITCH, SEED = 10, 4, 7


def flow(switch: int = SWITCH):
    """The two samplers as a workflow, and what ComfyUI's own sampler nodes get."""
    high, low = models("wan22_14b")
    family = FAMILIES["wan22_14b"]
    conditioning, latent = family.conditioning(), {"samples": torch.zeros(1, *family.latent_shape)}
    given = high, [conditioning], N, 1.0, "euler", "simple", 1.0, latent, SEED
    return sampler_nodes.ksampler(*given, low, switch), (high, low), conditioning, latent


def test_an_uncached_run_is_that_of_the_two_samplers_and_fewer_steps_switch_at_the_same_noise_level():
    run, (high, low), (positive, negative), latent = flow()
    [sample] = SampleSet(1, SEED, [0]).of(run)

    def sampled(steps: int, switch: int) -> torch.Tensor:
        given = SEED, steps, 1.0, "euler", "simple", positive, negative
        [first] = common_ksampler(high, *given, latent, last_step=switch)
        return common_ksampler(low, *given, first, disable_noise=True, start_step=switch,
                               force_full_denoise=True)[0]["samples"]

    assert torch.equal(run.uncached(sample), sampled(N, SWITCH))
    assert torch.equal(run.uncached(sample, 0.5), sampled(5, 2))
    assert torch.equal(run.reference(sample, lambda *evaluation: None), sampled(N, SWITCH))
    evaluations = run.dry_run()
    assert len(evaluations) == N and evaluations.starts == (SWITCH,)


def test_a_schedule_goes_on_in_the_second_model_and_caches_are_not_mixed():
    run, _, _, _ = flow()
    [sample] = SampleSet(1, SEED, [0]).of(run)
    reports = []
    schedule = from_indices([0, 2, SWITCH, 7], N)
    settings = CacheConfig(lambda times, cost: schedule.computed, order=1, cache_point="output",
                           published=reports.append)
    first, again = run.cached(sample, settings), run.cached(sample, settings)
    assert reports[-1].computed == [0, 2, SWITCH, 7] and [len(part.times) for part in reports[-1].parts] == [4, 6]
    assert torch.equal(first, again) and not torch.equal(first, run.uncached(sample))


@pytest.mark.parametrize("switch", [0, N])
def test_a_switch_that_leaves_a_model_without_a_step_gets_a_sentence(switch):
    with pytest.raises(WorkflowError, match=f"takes over at step {switch} of {N}"):
        flow(switch)


def test_a_policy_is_trained_over_both_and_used(experts, client, server):
    prompt = loaders() | {"train": node(
        "ReCacheTrainTwoModels", high_noise=["high", 0], low_noise=["low", 0], positive=["positive", 0],
        negative=["negative", 0], latent_image=["latent", 0], seed=4, steps=N, switch_step=SWITCH, cfg=1.0,
        sampler_name="euler", scheduler="simple", budgets="0.3, 0.5", samples=2, evaluations=400, minutes=0.0,
        mechanism="taylor", order=1, cache_point="output", distance="auto", reward="none", alpha=0.1)}
    prompt |= budgeted("", 0.5, trained=["train", 0], mechanism="taylor") | chain("", both(""), N, (SWITCH,))
    prompt |= reported("", "sampler1", both("")[1])
    with emptied(server.models / "recache"):
        result = client.run(prompt).check()
    report, text = json.loads(result.outputs["json"]["text"][0]), result.outputs["train"]["text"][0]
    assert len(report["computed"]) == 5 and {0, SWITCH} <= set(report["computed"])
    assert report["planned"] == report["computed"] and not report["unplanned"]
    listed = str(from_indices(report["computed"], N))
    assert f"5 of {N}: " in text and listed in text
