"""What ReCache Train takes through the real server: a workflow on the trained FLUX demo model, from /prompt to policy.

Eight prompts with two noises each, budgets of 7, 9 and 13 of 50, and a VAE to choose by pictures. Figures: ``seconds``
from queueing to the saved policy with torch's own number of threads, ``evaluations`` of the network,
``hours_at_half_a_second`` (what as many evaluations take on FLUX.1-dev at 0.5 s each), and per k ``st_lpips`` of the
policy and ``over_uniform``, its ratio to the uniform schedule's, on prompt-seed pairs that were not trained on.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure, publish
from tests.bench.training import TRAINING
from tests.hosting import session

STEPS, KS, PROMPTS = 50, (7, 9, 13), 8


def workflow(prompts: list[str], shift: float, cfg: float, **asked) -> dict:
    """ReCache Train on the demo model with these prompts, and ReCache Save Policy."""
    nodes = {
        "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors", "weight_dtype": "default"}},
        "shift": {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": ["model", 0], "shift": shift}},
        "empty": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "", "model": "flux"}},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "autoencoder.safetensors"}},
        "latent": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    }
    more: list = []
    for i, prompt in enumerate(prompts):
        nodes[f"text-{i}"] = {"class_type": "ReCacheTestTextEncode", "inputs": {"text": prompt, "model": "flux"}}
        if i:
            nodes[f"prompt-{i}"] = {"class_type": "ReCacheTrainingPrompt", "inputs": {
                "positive": [f"text-{i}", 0], "negative": ["empty", 0], **({"previous": more} if more else {})}}
            more = [f"prompt-{i}", 0]
    nodes["train"] = {"class_type": "ReCacheTrain", "inputs": {
        "model": ["shift", 0], "positive": ["text-0", 0], "negative": ["empty", 0], "latent_image": ["latent", 0],
        "vae": ["vae", 0], "prompts": more, "seed": 500, "steps": STEPS, "cfg": cfg,
        "sampler_name": "euler", "scheduler": "simple",
        "denoise": 1.0, "budgets": "0.14, 0.18, 0.26", "samples": 2, "minutes": 0.0, "mechanism": "taylor", "order": 1,
        "cache_point": "auto", "distance": "auto", "reward": "none", "alpha": 0.0, **asked}}
    nodes["save"] = {"class_type": "ReCacheSavePolicy", "inputs": {
        "policy": ["train", 0], "name": "bench", "notes": ""}}
    return nodes


def measure(options) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as base:
        host = session.start(os.environ["COMFYUI_PATH"], base)

        from recache.nodes.training.describe import REAL_MODEL_SECONDS
        from recache.policies.policy_file import load
        from recache.policies.uniform import uniform
        from tests.bench import demo_models
        from tests.bench.environment import DemoRollouts, picture_distance
        from tests.hosting.client import Client
        from tests.hosting.server import serve

        demo = demo_models.load("flux", host.models)
        prompts = [sample.prompt for sample in demo.samples(PROMPTS, TRAINING)]
        with serve(os.environ["COMFYUI_PATH"], test_nodes=True) as server, Client(server.url, 3600.0) as client:
            for name, folder in (("flux", "diffusion_models"), ("autoencoder", "vae")):
                shutil.copy(demo_models.WEIGHTS / f"{name}.safetensors", server.models / folder)
            queued = workflow(prompts, demo_models.FLUX_SHIFT, demo.cfg, evaluations=options.evaluations)
            result = client.run(queued).check()
            print(result.outputs["train"]["text"][0])
            file = load("bench.safetensors", server.models / "recache")
        cell = {"model": "flux", "mechanism": "taylor", "order": 1, "cache_point": file.about.cache_point, "n": STEPS}
        evaluations = file.about.training["evaluations"]
        yield Figure("seconds", result.seconds, "s", cell)
        yield Figure("evaluations", evaluations, "1", cell)
        yield Figure("hours_at_half_a_second", evaluations * REAL_MODEL_SECONDS / 3600.0, "h", cell)
        test = DemoRollouts(
            demo, demo.samples(options.test), STEPS, ("taylor", 1), file.about.cache_point,
            picture_distance)
        for k in KS:
            schedules = file.policy.schedule(k), uniform(STEPS, k)
            learned, even = (picture_distance(test, test.latents(schedule)) for schedule in schedules)
            yield Figure("st_lpips", float(learned.mean()), "1", cell | {"k": k})
            yield Figure("over_uniform", float(learned.mean() / even.mean()), "1", cell | {"k": k})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--evaluations", type=int, default=20_000, help="that the search may take (default: 20000)")
    parser.add_argument("--test", type=int, default=64, help="prompt-seed pairs to compare on (default: 64)")
    options = parser.parse_args()
    publish(list(measure(options)), options.json)


if __name__ == "__main__":
    main()
