"""Training on the workers of a Ray cluster, through a real server: the policy of one machine, whatever happens."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import psutil
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from tests.hosting.prompts import install_models, training
from tests.hosting.server import emptied

pytest.importorskip("ray")


@pytest.fixture(scope="module")
def models(server):
    install_models(server.models)
    with emptied(server.models / "recache"):
        yield server.models / "recache"


def queued(address: str, **train) -> dict:
    """A training with samples enough for two workers, chosen by pictures, and ReCache Save Policy."""
    prompt = training(vae=["7", 0], address=address, samples=2, evaluations=700, minutes=0.0, seed=11, **train) | {
        "7": {"class_type": "VAELoader", "inputs": {"vae_name": "demo_autoencoder.safetensors"}}}
    prompt["6"]["inputs"]["name"] = "trained"
    return prompt


def result(path: Path) -> tuple[dict, dict]:
    """A policy file without times: its metadata and its tensors as bytes. The file is removed."""
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = {name: tensor.numpy().tobytes() for name, tensor in load_file(path).items()}
    path.unlink()
    return metadata, tensors


def start_anew(models: Path) -> None:
    """Remove the checkpoints of earlier trainings."""
    shutil.rmtree(models / "training", ignore_errors=True)


def test_debug(models, client, server):
    start = time.monotonic()
    text = client.run(queued("")).check().outputs["5"]["text"][0]
    print(text, time.monotonic() - start)
    print(os.listdir(models), [p for p in server.base.rglob("costs*")])
    print(result(models / "trained.safetensors")[0])
    start = time.monotonic()
    text = client.run(queued("local")).check().outputs["5"]["text"][0]
    print(text, time.monotonic() - start)
    print(server.log()[-3000:])
    assert 0
