"""A policy from training to use, through a real server, on the trained FLUX demo model."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
from concurrent.futures import ThreadPoolExecutor

import pytest

from recache.nodes.server import training_state
from recache.policies.policy_file import load
from tests.hosting.prompts import TRAINING_STEPS, install_models, training
from tests.hosting.server import emptied


@pytest.fixture(scope="module")
def models(server):
    install_models(server.models)
    with emptied(server.models / "recache"):
        yield


def test_an_artist_trains_saves_and_uses_a_policy(models, client, server):
    queued = training(vae=["7", 0]) | {
        "7": {"class_type": "VAELoader", "inputs": {"vae_name": "demo_autoencoder.safetensors"}}}
    trained = client.run(queued).check()
    text = trained.outputs["5"]["text"][0]
    assert "on samples that were not trained on" in text and "1 - SSIM stands in for LPIPS." in text
    assert client.images(trained, "5")[0].size[0] == 1240
    assert trained.outputs["6"]["text"] == ["saved as mine.safetensors in models/recache"]
    assert trained.progress and all(0 <= value <= top for _, value, top in trained.progress)
    options = client.object_info("ReCacheBudget")["input"]["required"]["policy"]
    assert "mine.safetensors" in json.dumps(options)

    use = {key: node for key, node in training().items() if key in "1234"} | {
        "8": {"class_type": "ReCacheBudget", "inputs": {
            "model": ["1", 0], "budget": 0.5, "policy": "mine.safetensors", "cache_point": "blocks"}},
        "9": {"class_type": "KSampler", "inputs": {
            "model": ["8", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0], "seed": 1,
            "steps": TRAINING_STEPS, "cfg": 2.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}},
        "10": {"class_type": "ReCacheReport", "inputs": {"samples": ["9", 0], "model": ["8", 0]}},
    }
    fitted = "The policy 'mine' was fitted on these settings."
    helps = (load("mine.safetensors", server.models / "recache").gain(0.5) or 0.0) > 0.0
    for policy, is_used in (("mine.safetensors", True), ("auto", helps), ("uniform", False)):
        use["8"]["inputs"]["policy"] = policy
        text = client.run(use).check().outputs["10"]["text"][0]
        assert "of 12 computed" in text and (fitted in text) == is_used
    use["9"]["inputs"]["scheduler"], use["8"]["inputs"]["policy"] = "beta", "mine.safetensors"
    told = client.run(use).check()
    assert "was fitted on other settings (scheduler simple, shift" in told.outputs["10"]["text"][0]
    assert not told.texts.get("8")  # the strip on the node shows it
    assert not server.complaints()


def state(client, until, seconds: float = 600.0) -> dict:
    """The newest training as a page sees it, once `until(state)`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        newest = client.get("/recache/training")["trainings"][-1]
        if until(newest):
            return newest
        time.sleep(0.1)
    raise TimeoutError(f"The training is {newest}.")


def test_a_training_tells_what_it_does_and_keeps_its_best_when_stopped(models, client):
    last = client.get("/recache/training")["trainings"][-1:]
    prompt = client.queue(training(evaluations=1_000_000, minutes=0.0, seed=2), {"extra_pnginfo": {"workflow": {
        "id": "the workflow"}}})
    running = state(client, lambda s: [s] != last and s["phase"] == "search" and s["evaluations"] > 40)
    assert (running["node"], running["workflow"], running["state"]) == ("5", "the workflow", "running")
    assert running["limit"] == 1_000_000 and [row[:2] for row in running["budgets"]] == [[4, 12], [5, 12]]
    assert running["gain"] == pytest.approx(sum(row[2] for row in running["budgets"]) / 2)
    spent, gains = zip(*running["curve"])
    assert list(spent) == sorted(spent) and list(gains) == sorted(gains) and gains[-1] == pytest.approx(running["gain"])
    assert client.post("/recache/stop", {"training": running["id"] + 1}) == {"stopped": False}
    assert not state(client, lambda s: True)["stopping"]
    assert client.post("/recache/stop", {"training": running["id"]}) == {"stopped": True}
    result = client.wait(prompt).check()
    ended = state(client, lambda s: s["state"] != "running")
    assert ended["state"] == "done" and ended["summary"] == result.outputs["5"]["text"][0].splitlines()[0]
    assert "on samples that were not trained on" in ended["summary"] and ended["curve"][-1][1] >= gains[-1]
    assert client.post("/recache/stop", {"training": running["id"]}) == {"stopped": False}


@pytest.mark.parametrize("named", [None, [1], {}, "x", -1, 1.5, True, 2**70])
def test_nonsense_stops_nothing(client, named):
    assert client.post("/recache/stop", {"training": named}) == {"stopped": False}


@pytest.mark.parametrize("body", [{"id": 1}, [], "x", 7])
def test_a_stop_that_names_no_training_is_refused(client, body):
    with pytest.raises(urllib.error.HTTPError) as error:
        client.post("/recache/stop", body)
    assert error.value.code == 400


def test_a_training_is_cancelled_and_goes_on_when_queued_again(models, client):
    long = training(evaluations=300, seed=3)
    last = client.get("/recache/training")["trainings"][-1:]
    prompt = client.queue(long)
    state(client, lambda s: [s] != last and s["phase"] == "search" and s["evaluations"] > 20)
    client.interrupt()
    assert client.wait(prompt).status == "interrupted"
    cancelled = state(client, lambda s: s["state"] != "running")
    assert cancelled["state"] == "cancelled" and cancelled["summary"] == ""
    client.run(long).check()


def test_a_training_that_fails_does_not_run_any_more():
    with pytest.raises(ValueError, match="a reason"), training_state.training("5", None, 10):
        raise ValueError("a reason")
    with ThreadPoolExecutor() as thread:  # while a browser runs, this one can start no event loop
        told = thread.submit(asyncio.run, training_state.get_trainings(None)).result()
    failed = json.loads(told.body)["trainings"][-1]
    assert (failed["state"], failed["summary"]) == ("failed", "a reason")
