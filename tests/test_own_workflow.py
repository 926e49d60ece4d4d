"""``bench quality --workflow``: an artist's own workflow against its uncached run, on a separate server."""

from __future__ import annotations

import argparse
import json

import pytest
import torch

from tests.bench import own_workflow
from tests.bench.own_workflow import WorkflowError, at_budget, text_of, vbench_name
from tests.hosting.prompts import install_models, sampling

PROMPT = 'a dog, 50% "blue"/red <b>'


def workflow() -> dict[str, dict]:
    """The demo model, eight steps, two pictures: saved, and as a video."""
    nodes = sampling("auto")
    del nodes["8"], nodes["10"]
    nodes["2"]["inputs"]["text"] = PROMPT
    nodes["4"]["inputs"]["batch_size"] = 2
    nodes["9"]["inputs"] |= {"model": ["1", 0], "steps": 8}
    return nodes | {
        "11": {"class_type": "VAELoader", "inputs": {"vae_name": "demo_autoencoder.safetensors"}},
        "12": {"class_type": "VAEDecode", "inputs": {"samples": ["9", 0], "vae": ["11", 0]}},
        "13": {"class_type": "CreateVideo", "inputs": {"images": ["12", 0], "fps": 8.0}},
        "14": {"class_type": "SaveVideo", "inputs": {
            "video": ["13", 0], "filename_prefix": "own", "format": "auto", "codec": "auto"}},
        "15": {"class_type": "SaveImage", "inputs": {"images": ["12", 0], "filename_prefix": "own"}}}


def measured(server, tmp_path, prompt, **options) -> dict[tuple[str, str], float]:
    install_models(server.models)
    file = tmp_path / "workflow.json"
    file.write_text(json.dumps(prompt))
    given = {"workflow": file, "server": server.url, "budgets": [0.4, 1.0], "seeds": 1, "prompt": "",
             "out": tmp_path / "out"} | options
    figures = own_workflow.run(argparse.Namespace(**given))
    return {(figure.cell["budget"], figure.name): figure.value for figure in figures}


def test_a_workflow_is_measured_and_shown(server, tmp_path):
    found = measured(server, tmp_path, workflow())
    assert found["1", "psnr"] == 100.0 and found["1", "st_lpips"] == 0.0 and found["1", "ssim"] == pytest.approx(1.0)
    assert 10 < found["0.4", "psnr"] < 60 and found["0.4", "st_lpips"] > 0.001 and found["0.4", "ssim"] < 0.999
    assert found["uncached", "seconds"] > 0 and ("uncached", "psnr") not in found
    out = tmp_path / "out"
    page = (out / "index.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 3 * 2  # the video's two frames, uncached and at two budgets
    assert "<th>SSIM<br>(higher is closer)" in page and "<b>" not in page and "http" not in page
    for budget in ("uncached", "0.4", "1"):
        [video] = (out / "vbench" / budget).iterdir()
        frames, fps = own_workflow.decode(video.read_bytes())
        assert video.name == "a dog, 50% blue red b-0.mp4" and len(frames) == 2 and fps == 8
        assert len(list((out / budget / "0").glob("*.png"))) == 2


def test_budgets_are_set_on_the_workflows_own_nodes():
    prompt = sampling("auto")
    assert at_budget(prompt, 0.3)["8"]["inputs"]["budget"] == 0.3
    assert at_budget(prompt, None)["8"]["inputs"]["budget"] == 1.0
    assert at_budget(prompt, 0.3, seed=2)["9"]["inputs"]["seed"] == 3 and prompt["9"]["inputs"]["seed"] == 1


def test_a_budget_is_put_before_every_sampler_of_a_model():
    prompt = workflow()
    prompt["16"] = {"class_type": "KSampler", "inputs": {**prompt["9"]["inputs"], "latent_image": ["9", 0]}}
    changed = at_budget(prompt, 0.3)
    [added] = changed.keys() - prompt.keys()
    assert changed[added]["inputs"]["model"] == ["1", 0]
    assert changed["9"]["inputs"]["model"] == changed["16"]["inputs"]["model"] == [added, 0]
    assert at_budget(prompt, None) == prompt
    with pytest.raises(WorkflowError, match="no sampler"):
        at_budget({"1": prompt["1"]}, 0.3)


def test_two_experts_share_a_budget():
    prompt = workflow() | {"1b": workflow()["1"]}
    first = {**prompt["9"]["inputs"], "add_noise": "enable", "model": ["1", 0]}
    prompt["9"] = {"class_type": "KSamplerAdvanced", "inputs": first}
    prompt["16"] = {"class_type": "KSamplerAdvanced", "inputs": {
        **first, "add_noise": "disable", "model": ["1b", 0], "latent_image": ["9", 0]}}
    changed = at_budget(prompt, 0.3)
    [added] = changed.keys() - prompt.keys()
    assert changed[added] == {"class_type": "ReCacheBudgetTwoModels", "inputs": {
        "high_noise": ["1", 0], "low_noise": ["1b", 0], "budget": 0.3, "policy": "auto"}}
    assert (changed["9"]["inputs"]["model"], changed["16"]["inputs"]["model"]) == ([added, 0], [added, 1])
    prompt["16"]["inputs"]["add_noise"] = "enable"  # a pass of its own
    assert len(at_budget(prompt, 0.3).keys() - prompt.keys()) == 2


def test_prompts_name_videos():
    assert text_of(workflow()) == PROMPT and text_of({}) == ""
    assert vbench_name("A house.", 4) == "A house.-4.mp4" and vbench_name("../..", 0) == ".. ..-0.mp4"
    assert vbench_name("", 0) == "video-0.mp4" and len(vbench_name("x" * 999, 0)) < 200


def test_a_video_is_written_where_the_workflow_saves_none(tmp_path):
    frames = torch.rand(3, 3, 33, 48)
    own_workflow.write_video(tmp_path / "a.mp4", frames, 8.0)
    made, fps = own_workflow.decode((tmp_path / "a.mp4").read_bytes())
    assert len(made) == 3 and made[0].shape == (32, 48, 3) and fps == 8


def test_what_is_no_workflow_is_refused_in_a_sentence(server, tmp_path):
    with pytest.raises(WorkflowError, match="API format"):
        measured(server, tmp_path, {"nodes": []})
