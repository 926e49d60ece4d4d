"""Training on the workers of a Ray cluster, through a real server: the policy of one machine, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from safetensors import safe_open

from tests.hosting.prompts import install_models, training
from tests.hosting.server import emptied

NOBODY = "127.0.0.1:1"  # where nothing listens


@pytest.fixture(scope="module")
def models(server):
    install_models(server.models)
    with emptied(server.models / "recache"):
        yield server.models / "recache"


@pytest.fixture(scope="module")
def workers():
    """A Ray cluster of two workers on this machine, and this process as its driver."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")
        ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    yield ray
    ray.shutdown()


def clear(models: Path) -> None:
    """Delete the checkpoints of all trainings."""
    for folder in models.parents[1].glob("user/**/recache/training"):
        shutil.rmtree(folder)


def trained(client, models: Path, address: str) -> tuple[str, dict, bytes]:
    """A training from nothing: what the node says, and the policy file without times: metadata and tensors."""
    clear(models)
    prompt = training(vae=["7", 0], address=address, samples=2, minutes=0.0, seed=11) | {
        "7": {"class_type": "VAELoader", "inputs": {"vae_name": "demo_autoencoder.safetensors"}}}
    text = client.run(prompt).check().outputs["5"]["text"][0]
    path = models / "mine.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["recache"])
        tensors = b"".join(file.get_tensor(name).numpy().tobytes() for name in sorted(file.keys()))
    path.unlink()
    assert about["training"].pop("seconds") > 0
    return text, about, tensors


def kill_a_worker(models: Path, killed: list[int]) -> None:
    """Kill one as soon as some costs are known."""
    until = time.monotonic() + 600
    while time.monotonic() < until and not killed:
        costs = [path.read_text() for path in models.parents[1].glob("user/**/training/*/costs.jsonl")]
        if "".join(costs).count("\n") >= 3:
            actors = [p for p in psutil.process_iter(["name", "cmdline"])
                      if p.info["cmdline"] and p.info["cmdline"][0].startswith("ray::Actor")]
            os.kill(actors[0].pid, signal.SIGKILL)
            killed.append(actors[0].pid)
        time.sleep(0.1)


def test_workers_make_the_same_policy_though_one_is_killed(models, workers, client):
    alone, about, tensors = trained(client, models, NOBODY)
    assert f"The cluster {NOBODY} can't be reached, so this ComfyUI trained alone." in alone
    killed: list[int] = []
    clear(models)  # of costs that the killer would take for the workers'
    killer = threading.Thread(target=kill_a_worker, args=(models, killed))
    killer.start()
    text, about_there, tensors_there = trained(client, models, "auto")
    killer.join()
    assert killed and "Workers that computed: 2." in text and "worker failed" not in text
    assert about_there == about and tensors_there == tensors


@pytest.mark.parametrize("address, own, expected", [
    ("auto", "", "auto"), ("local", "", "local"), ("auto", NOBODY, "cluster_unreachable"),
    (NOBODY, "", "cluster_unreachable"), (f"ray://{NOBODY}", "", "cluster_unreachable"),
    ("localhost:x", "", "cluster_unreachable"), ("localhost:99999999", "", "cluster_unreachable"),
    ("192.0.2.9:6379", "", "cluster_foreign"), ("ray://example.org:10001", "", "cluster_foreign"),
    ("localhost.example.org:1", "", "cluster_foreign"), ("http://x@example.org", NOBODY, "cluster_foreign")])
def test_a_workflow_names_only_this_machines_cluster(address, own, expected, monkeypatch, host):
    from recache.nodes.training import cluster

    monkeypatch.setenv("RAY_ADDRESS", own)
    if expected == address:
        assert cluster.usable_address(address) == address
        return
    with pytest.raises(cluster.ClusterError) as error:
        cluster.usable_address(address)
    assert error.value.reason.code == expected


def test_workers_get_the_part_of_a_prompt_that_training_depends_on(host):
    from recache.nodes.training.cluster import needed_part

    prompt = training(references=["8", 0], vae=["9", 0]) | {
        "8": {"class_type": "LoadLatent", "inputs": {}}, "9": {"class_type": "VAELoader", "inputs": {}},
        "10": {"class_type": "SaveImage", "inputs": {"images": ["11", 0]}}}
    part = needed_part(prompt, "5")
    assert part.keys() == {"1", "2", "3", "4", "5", "9"} and "references" not in part["5"]["inputs"]
    assert "references" in prompt["5"]["inputs"]
