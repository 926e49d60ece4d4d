"""ReCache Frontier: what it measures, the knee, the picture, and what it refuses."""

from __future__ import annotations

import base64
import gc
import json
import re
from dataclasses import replace
from io import BytesIO
from types import SimpleNamespace

import comfy.model_management
import latent_preview
import pytest
import torch
from comfy.samplers import sampler_object
from comfy_extras.nodes_custom_sampler import BasicGuider
from nodes import common_ksampler
from PIL import Image

from recache import caching
from recache.caching import sampler_nodes
from recache.nodes import budget, frontier
from recache.nodes.pictures.frontier import frontier_picture
from recache.nodes.training import preview
from recache.nodes.training.describe import describe_curve, pace
from recache.nodes.training.preview import previews
from recache.nodes.training.quality_curve import Curve, Point
from recache.policies.budget import knee
from recache.policies.metrics.metric import LATENT_RMSE, Figures
from tests.hosting.languages import OWN_SCRIPT
from tests.hosting.prompts import install_models
from tests.sampling import models
from tests.tiny.families import FAMILIES
from tests.tiny.training import flow

N = 12
BUDGETS = "0.5, 0.25, 0.75"


@pytest.fixture(autouse=True)
def node(monkeypatch):
    """Gives nodes the id that the executor would."""
    for cls in (frontier.ReCacheFrontier, frontier.ReCacheFrontierCustom, budget.ReCacheBudget):
        monkeypatch.setattr(
            cls, "hidden", SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None), raising=False)


def sampled(name: str = "flux", **options) -> dict:
    family = FAMILIES[name]
    positive, negative = family.conditioning()
    return {"model": models(name)[0], "positive": positive, "negative": negative,
            "latent_image": {"samples": torch.zeros(1, *family.latent_shape)}, "seed": 3, "steps": N, "cfg": 1.0,
            "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0, **options}


def asked(**options) -> dict:
    return {"budgets": BUDGETS, "samples": 1, "fewer_steps": True, "policy": "uniform", "cache_point": "output",
            **options}


def run(cls=frontier.ReCacheFrontier, **given) -> tuple:
    """Picture, budget, text and table, made as the executor would."""
    with torch.inference_mode():
        picture, best, text, table = cls.execute(**given).args
    return picture, best, text, json.loads(table)


def stock(given: dict, model=None, steps: int = N) -> torch.Tensor:
    """What the stock KSampler makes."""
    return common_ksampler(
        model or given["model"], given["seed"], steps, given["cfg"], given["sampler_name"], given["scheduler"],
        given["positive"], given["negative"], given["latent_image"], denoise=given["denoise"])[0]["samples"]


def rmse(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).square().mean().sqrt())


class Vae:
    """Makes pictures of latents, or of a video's frames, four times their size."""

    def __init__(self, latent_dim: int = 2):
        self.latent_dim = latent_dim

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        frames = latent[:, :3].sigmoid().movedim(1, -1)
        return frames.repeat_interleave(8, -3).repeat_interleave(8, -2)


# ---- what is measured


def test_every_point_is_what_the_stock_nodes_make_at_that_budget():
    given = sampled(cfg=2.0)
    _, best, text, table = run(**given, **asked())
    full = stock(given)
    assert [row["budget"] for row in table["budgets"]] == [0.25, 0.5, 0.75]
    for row, k in zip(table["budgets"], (3, 6, 9)):
        model = budget.ReCacheBudget.execute(given["model"], row["budget"], "uniform", cache_point="output").args[0]
        assert row["computed"] == k
        assert row["difference"] == pytest.approx(rmse(stock(given, model), full), rel=1e-4)
        assert row["fewer_steps"]["computed"] == k
        assert row["fewer_steps"]["difference"] == pytest.approx(rmse(stock(given, steps=k), full), rel=1e-4)
        assert row["psnr"] is None and row["seconds"] > 0
        assert row["speedup"] == pytest.approx(table["uncached"]["seconds"] / row["seconds"])
        assert re.search(rf"^{row['budget']:g}: \S.*, {k} of {N} computed", text, re.MULTILINE)
    assert best == (table["knee"] or 0.75) and table["measure"] == "latent RMSE"


def test_several_samples_are_the_batch_of_the_seed_and_count_by_their_mean():
    given = sampled()
    table = run(**given, **asked(samples=2, fewer_steps=False))[3]
    given["latent_image"] = {"samples": torch.zeros(2, *FAMILIES["flux"].latent_shape)}
    full = stock(given)
    for row in table["budgets"]:
        model = budget.ReCacheBudget.execute(given["model"], row["budget"], "uniform", cache_point="output").args[0]
        cached = stock(given, model)
        expected = sum(rmse(a, b) for a, b in zip(cached, full)) / 2
        assert row["difference"] == pytest.approx(expected, rel=1e-3) and row["fewer_steps"] is None


def test_custom_sampling_gives_the_same_curve():
    given = sampled()
    sigmas = sampler_nodes.ksampler(given["model"], [(given["positive"], given["negative"])], N, 1.0, "euler", "simple",
                                    1.0, given["latent_image"], 3).sigmas
    guider = BasicGuider.execute(given["model"], given["positive"]).args[0]
    custom = run(frontier.ReCacheFrontierCustom, guider=guider, sampler=sampler_object("euler"), sigmas=sigmas,
                 latent_image=given["latent_image"], seed=3, **asked(fewer_steps=False))[3]
    expected = run(**given, **asked(fewer_steps=False))[3]
    assert [row["difference"] for row in custom["budgets"]] == pytest.approx(
        [row["difference"] for row in expected["budgets"]], rel=1e-5)


def test_samplers_of_two_evaluations_a_step_keep_their_budgets_and_so_do_blocks():
    given = sampled(sampler_name="heun", steps=8)
    table = run(**given, **asked(cache_point="blocks", budgets="0.4 0.6"))[3]
    assert table["evaluations"] == 15 and table["cache_point"] == "blocks"
    for row, least in zip(table["budgets"], (4, 7)):
        model = budget.ReCacheBudget.execute(given["model"], row["budget"], "uniform", cache_point="blocks").args[0]
        stock(given, model, steps=8)
        computed = caching.reports_of(caching.config_of(model).identity)[-1].computed
        assert least <= row["computed"] == len(computed) <= row["budget"] * 15


def test_pictures_and_videos_are_compared_where_there_is_a_vae():
    picture, _, text, table = run(**sampled(), **asked(vae=Vae()))
    assert table["measure"] == "1 - SSIM" and "1 - SSIM stands in for LPIPS." in text
    assert all(row["psnr"] > 0 and 0 < row["ssim"] <= 1 for row in table["budgets"])
    without = run(**sampled(), **asked())[0]
    assert picture.shape[1] > without.shape[1] + 100  # thumbnails
    clip = run(**sampled("wan21_t2v"), **asked(vae=Vae(3), budgets="0.5"))[3]
    assert clip["budgets"][0]["psnr"] > 0
    with pytest.raises(ValueError, match=r"^ReCache Frontier: the VAE makes pictures and this workflow videos"):
        run(**sampled("wan21_t2v"), **asked(vae=Vae(), budgets="0.5"))


def test_budgets_that_buy_the_same_are_tried_once():
    _, _, text, table = run(**sampled(), **asked(budgets="0.5, 0.51, 0.5, 0.75", fewer_steps=False))
    assert [row["computed"] for row in table["budgets"]] == [6, 9]
    assert "The budget 0.51 pays for no more than the one before it, 6 of 12; it is left out." in text
    assert text.count("0.51") == 1


def test_a_model_that_has_a_budget_already_is_measured_without_it():
    given = sampled()
    expected = run(**given, **asked(fewer_steps=False))[3]
    given["model"] = budget.ReCacheBudget.execute(given["model"], 0.2, "uniform").args[0]
    found = run(**given, **asked(fewer_steps=False))[3]
    assert [row["difference"] for row in found["budgets"]] == [row["difference"] for row in expected["budgets"]]


def test_a_missing_policy_stops_no_run():
    text = run(**sampled(), **asked(policy="gone.safetensors", fewer_steps=False))[2]
    assert "The policy 'gone.safetensors' is not in models/recache" in text
    assert frontier.ReCacheFrontier.validate_inputs("gone.safetensors") is True


# ---- what it leaves, and what it refuses


def test_cancelling_ends_it_at_once_and_leaves_nothing(monkeypatch):
    given, steps = sampled(), []
    before = stock(given)

    def cancel(doing, share):
        steps.append(doing)
        if doing == "budget 0.5":
            comfy.model_management.interrupt_current_processing()
        comfy.model_management.throw_exception_if_processing_interrupted()

    def tensors() -> int:
        gc.collect()
        return sum(torch.is_tensor(thing) for thing in gc.get_objects())

    count = tensors()
    monkeypatch.setattr(frontier, "_progress", lambda node_id, tell: cancel)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(**given, **asked())
    comfy.model_management.interrupt_current_processing(False)
    assert steps[-1] == "budget 0.5" and steps.count("budget 0.5") == 1
    assert tensors() <= count
    assert caching.config_of(given["model"]) is None and torch.equal(stock(given), before)


def test_progress_rises_to_the_end(monkeypatch):
    seen = []
    monkeypatch.setattr(frontier, "_progress", lambda *given: lambda doing, share: seen.append((doing, share)))
    run(**sampled(), **asked(samples=2, budgets="0.5"))
    shares = [share for _, share in seen]
    assert shares == sorted(shares) and shares[0] == 0.0 and shares[-1] == pytest.approx(1.0)
    names = list(dict.fromkeys(doing for doing, _ in seen))
    assert names == [
        "warming up", "uncached, seed 1 of 2", "budget 0.5, seed 1 of 2", "6 of 12 without a cache, seed 1 of 2",
        "uncached, seed 2 of 2", "budget 0.5, seed 2 of 2", "6 of 12 without a cache, seed 2 of 2",
        "measuring latent RMSE"]


@pytest.mark.parametrize("changes, options, said", [
    ({}, {"budgets": "0.1, fast"}, "'0.1, fast' are no budgets; write shares of the full compute"),
    ({}, {"budgets": ""}, "'' are no budgets"),
    ({}, {"budgets": "14, 18"}, "'14, 18' are no budgets"),
    ({"sampler_name": "dpm_adaptive"}, {}, "chooses its evaluations as it goes"),
    ({"steps": 1}, {}, "fewer than two steps"),
    ({"latent_image": {"samples": torch.full((1, *FAMILIES["flux"].latent_shape), float("nan"))}}, {}, "ended in NaN"),
])
def test_what_cannot_be_measured_is_one_sentence(changes, options, said):
    with pytest.raises(ValueError, match=r"^ReCache Frontier: ") as error:
        run(**sampled(**changes), **asked(**options))
    assert said in str(error.value) and "\n" not in str(error.value)


# ---- the knee and the picture


def test_the_knee_is_where_more_cost_stops_buying_much():
    assert knee([7, 9, 13, 20, 50], [0.0066, 0.0021, 0.0009, 0.0002, 0.0]) == 2
    assert knee([1, 2, 10], [10.0, 1.0, 0.0]) == 1
    assert knee([1, 2, 3, 4], [3.0, 2.0, 1.0, 0.0]) is None  # a straight line
    assert knee([1, 2, 3, 4], [3.0, 2.9, 2.5, 0.0]) is None  # quality comes last
    assert knee([1, 10], [5.0, 0.0]) is None
    assert knee([1, 2, 10], [0.0, 0.0, 0.0]) == 0  # the cheapest is as good as all
    costs, errors = [5, 9, 20, 50], [8.0, 3.0, 1.0, 0.0]
    assert knee(costs, errors) == knee([100 * c for c in costs], [1e-6 * e for e in errors])


def curve(errors: dict[float, float], seconds: float = 10.0, knee: float | None = None, size=None) -> Curve:
    def point(share: float, error: float) -> Point:
        picture = None if size is None else torch.full((*size, 3), share)
        return Point(int(share * 50), share * seconds, Figures(error), picture)

    return Curve(50, point(1.0, 0.0), {b: point(b, e) for b, e in errors.items()},
                 {b: point(b, 5 * e) for b, e in errors.items()}, knee, LATENT_RMSE,
                 caching.Report("taylor", 1, "output", ""), [])


@pytest.mark.parametrize("drawn", [
    curve({0.2: 0.5, 0.4: 0.1}, knee=0.4), curve({0.3: 0.0}), curve({1.0: 0.0}, 1e-4),
    curve({i / 13: 1e9 / i for i in range(1, 13)}, 4000.0, 1 / 13), curve({0.2: 1e-7}, size=(64, 48)),
    curve({0.2: 0.1, 0.5: 0.01}, knee=0.5, size=(720, 1280)), curve({0.5: 0.1}, size=(2048, 16))])
def test_every_curve_is_drawn(drawn):
    picture = frontier_picture(drawn)
    assert picture.ndim == 4 and picture.shape[2] >= 960 and picture.shape[1] < 1500
    assert frontier_picture(replace(drawn, fewer={})).shape[1] < picture.shape[1]


def test_a_slower_run_is_never_called_faster():
    drawn = curve({0.2: 0.5, 0.4: 0.1}, knee=0.4)
    slow = replace(drawn.uncached, seconds=3.6)  # the run at 0.4 takes 4 s
    said = [pace(replace(drawn, uncached=replace(slow, seconds=s)), drawn.cached[0.4]) for s in (3.6, 3.9, 4.1, 4.4)]
    assert said == ["0.9x (slower)", "no faster", "no faster", "1.1x faster"]
    slower = replace(drawn, uncached=slow, cached={0.4: drawn.cached[0.4]}, fewer={})
    assert "faster" not in describe_curve(slower)


@pytest.mark.parametrize("language", OWN_SCRIPT)
def test_every_line_is_in_the_artists_language(language):
    notes = [caching.Reason("fewer_steps_closer", {"budgets": "0.2"}),
             caching.Reason("lpips_missing", {"because": caching.Reason("lpips_no_package")})]
    for knee_at in (0.4, None):
        said = describe_curve(replace(curve({0.2: 0.5, 0.4: 0.1}, knee=knee_at), notes=notes), language)
        assert len(said.splitlines()) > 6
        assert [line for line in said.splitlines() if not re.search(OWN_SCRIPT[language], line)] == []


def test_what_is_denoised_so_far_is_shown_where_comfyui_shows_previews(monkeypatch):
    runs, shown = flow(), []
    monkeypatch.setattr(preview, "SECONDS", 0.0)
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.NoPreviews)
    assert previews(runs.model, shown.append) is None
    monkeypatch.setattr(latent_preview.args, "preview_method", latent_preview.LatentPreviewMethod.Latent2RGB)
    runs.preview = previews(runs.model, shown.append)
    runs.uncached(runs.samples(1, 1)[0])
    assert len(shown) == runs.steps
    for address in shown:
        kind, picture = address.split(",")
        assert kind == "data:image/jpeg;base64" and Image.open(BytesIO(base64.b64decode(picture))).width > 0


# ---- on a server


def test_the_knee_feeds_the_budget_and_compare_shows_what_it_costs(server, client):
    install_models(server.models)
    sampling = {"positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 1, "steps": N, "cfg": 2.0,
                "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    prompt = {
        "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "demo_flux.safetensors", "weight_dtype": "default"}},
        "2": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "a frog", "model": "flux"}},
        "3": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "", "model": "flux"}},
        "4": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
        "5": {"class_type": "VAELoader", "inputs": {"vae_name": "demo_autoencoder.safetensors"}},
        "6": {"class_type": "ReCacheFrontier", "inputs": {
            "model": ["1", 0], **sampling, "budgets": "0.25, 0.35, 0.6", "samples": 1, "fewer_steps": True,
            "policy": "uniform", "vae": ["5", 0]}},
        "7": {"class_type": "PreviewAny", "inputs": {"source": ["6", 3]}},
        "8": {"class_type": "ReCacheBudget", "inputs": {"model": ["1", 0], "budget": ["6", 1], "policy": "uniform"}},
        "13": {"class_type": "ReCacheCompare", "inputs": {
            "uncached": ["11", 0], "cached": ["12", 0], "rows": 4, "heat_scale": 0.2}},
        "14": {"class_type": "PreviewAny", "inputs": {"source": ["13", 4]}},
    }
    for model, sampler, decode in (("1", "9", "11"), ("8", "10", "12")):
        prompt[sampler] = {"class_type": "KSampler", "inputs": {"model": [model, 0], **sampling}}
        prompt[decode] = {"class_type": "VAEDecode", "inputs": {"samples": [sampler, 0], "vae": ["5", 0]}}
    result = client.run(prompt).check()
    table = json.loads(result.outputs["7"]["text"][0])
    assert [row["computed"] for row in table["budgets"]] == [3, 4, 7]
    chosen = next(row for row in table["budgets"] if row["budget"] == table["knee"])
    assert result.outputs["6"]["text"][0].startswith(f"Knee at budget {table['knee']:g}: ")
    assert f", {chosen['computed']} of {N} computed, " in result.outputs["6"]["text"][0]
    # The same seed at the same budget: Compare sees what the frontier saw, but for its half precision.
    assert float(result.outputs["14"]["text"][0]) == pytest.approx(chosen["psnr"], abs=0.1)
    assert result.outputs["13"]["text"][0].startswith("1 - SSIM ")
    assert min(client.images(result, "6")[0].size) > 900 and client.images(result, "13")[0].width > 3 * 384
    progress = [value for node, value, _ in result.progress if node == "6"]
    assert progress and max(progress) == 1000
    assert any("budget 0.35" in text for text in result.texts["6"])
    assert not server.complaints()
