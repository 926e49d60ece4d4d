"""Makes docs/images/frontier.png and compare.png, what these nodes draw of the demo models: ``nox -s pictures``.

The frontier's seconds are measured: run it on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
from os import environ
from typing import Any

from tests.authoring import thumbnails
from tests.hosting.client import Client
from tests.hosting.server import serve
from tests.hosting.session import ROOT

FOLDER = ROOT / "docs" / "images"
SECONDS = 1200.0  # that a workflow may take
COMPUTED, STEPS = 9, 25  # of the clip that Compare shows


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _model(kind: str, text: str, shift: float) -> dict[str, dict]:
    return {
        "unet": _node("UNETLoader", unet_name=f"{kind}.safetensors", weight_dtype="default"),
        "shift": _node("ModelSamplingSD3", model=["unet", 0], shift=shift),
        "positive": _node("ReCacheTestTextEncode", text=text, model=kind),
        "negative": _node("ReCacheTestTextEncode", text="", model=kind),
        "vae": _node("VAELoader", vae_name="autoencoder.safetensors"),
    }


def _sampled(model: str, steps: int, cfg: float) -> dict[str, Any]:
    return {"model": [model, 0], "positive": ["positive", 0], "negative": ["negative", 0],
            "latent_image": ["latent", 0], "seed": 5, "steps": steps, "cfg": cfg, "sampler_name": "euler",
            "scheduler": "simple", "denoise": 1.0}


def frontier() -> dict[str, dict]:
    """ReCache Frontier on the FLUX demo model."""
    return {
        **_model("flux", "a dog on a yellow background", 3.0),
        "latent": _node("EmptySD3LatentImage", width=128, height=128, batch_size=1),
        "shown": _node("ReCacheFrontier", **_sampled("shift", 50, 2.5), vae=["vae", 0], samples=2, fewer_steps=True,
                       budgets="0.1, 0.14, 0.18, 0.26, 0.4", policy="auto"),
    }


def compare() -> dict[str, dict]:
    """ReCache Compare on a clip of the Wan demo model."""
    nodes = {
        **_model("wan", "a dog moving left on a white background", 8.0),
        "latent": _node("EmptyHunyuanLatentVideo", width=96, height=96, length=33, batch_size=1),
        "budget": _node("ReCacheBudget", model=["shift", 0], budget=COMPUTED / STEPS, policy="auto"),
        "shown": _node("ReCacheCompare", uncached=["shift decode", 0], cached=["budget decode", 0], rows=3,
                       heat_scale=0.2),
    }
    for model in ("shift", "budget"):
        nodes[f"{model} run"] = _node("KSampler", **_sampled(model, STEPS, 2.5))
        nodes[f"{model} frames"] = _node("ReCacheTestFramesToBatch", samples=[f"{model} run", 0])
        nodes[f"{model} decode"] = _node("VAEDecode", samples=[f"{model} frames", 0], vae=["vae", 0])
    return nodes


PROMPTS = {"compare": compare, "frontier": frontier}


def make(client: Client, name: str) -> None:
    """Runs the workflow of one picture and saves what its node has drawn."""
    path = FOLDER / f"{name}.png"
    client.images(client.run(PROMPTS[name]()).check(), "shown")[0].save(path, optimize=True)
    print(path, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *PROMPTS], help="of these; all by default")
    chosen = parser.parse_args().only or list(PROMPTS)
    with serve(environ["COMFYUI_PATH"], test_nodes=True) as server:
        thumbnails.install(server.models)
        with Client(server.url, timeout=SECONDS) as client:
            for name in chosen:
                make(client, name)


if __name__ == "__main__":
    main()
