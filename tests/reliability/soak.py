"""``nox -s soak``: hundreds of mixed prompts on one real server, many of them cancelled, some while others wait.

Every latent must be, to the bit, the one that its workflow gives alone, and the server's memory must stay what it was.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from statistics import median

import psutil
from safetensors.torch import load_file

from tests.hosting.client import Client, Result
from tests.hosting.plans import asked, budget, ksampler
from tests.hosting.prompts import TRAINING_STEPS, training
from tests.hosting.server import Server, serve
from tests.reliability.document import table, write_section
from tests.trained import WEIGHTS

MODELS = {"flux": "EmptySD3LatentImage", "wan": "EmptyHunyuanLatentVideo"}  # and the node of their latents
MOST_GROWTH = 1.05  # of the last quarter's memory over the second quarter's


def install(server: Server) -> None:
    """Gives the server the demo models."""
    for name in MODELS:
        shutil.copy(WEIGHTS / f"{name}.safetensors", server.models / "diffusion_models" / f"demo_{name}.safetensors")


def workflow(rng: Random) -> dict:
    """A workflow that an artist could queue: any model, sampler, size and settings of ReCache; "latent" saves it."""
    model = rng.choice(["flux", "flux", "wan"])
    latent = {"width": rng.choice([64, 96, 128]), "height": rng.choice([64, 80]), "batch_size": rng.choice([1, 1, 2])}
    settings = {
        "budget": rng.choice([0.2, 0.3, 0.5, 1.0]), "policy": rng.choice(["auto", "uniform", "gone.safetensors"]),
        "mechanism": rng.choice(["auto", "taylor", "hermite", "reuse", "residual", "dicache", "meancache"]),
        "order": rng.choice([1, 2]), "cache_point": rng.choice(["auto", "output", "blocks"]),
        "cache_device": rng.choice(["auto", "cpu"])}
    return {
        "1": {"class_type": "UNETLoader", "inputs": {
            "unet_name": f"demo_{model}.safetensors", "weight_dtype": "default"}},
        "2": _text(f"a {rng.choice(['dog', 'fox', 'red apple'])} on a blue background", model),
        "3": _text("", model),
        "4": {"class_type": MODELS[model], "inputs": latent | ({"length": 9} if model == "wan" else {})},
        "8": {"class_type": "ReCacheBudget", "inputs": {"model": ["1", 0], **settings}},
        "9": {"class_type": "KSampler", "inputs": {
            "model": ["8", 0], "positive": ["2", 0], "negative": ["3", 0], "latent_image": ["4", 0],
            "seed": rng.randrange(1000), "steps": rng.choice([4, 8, 12]), "cfg": rng.choice([1.0, 2.0]),
            "sampler_name": rng.choice(["euler", "euler_ancestral", "dpmpp_2m", "heun", "uni_pc", "dpm_adaptive"]),
            "scheduler": rng.choice(["simple", "beta"]), "denoise": 1.0}},
        "10": {"class_type": "ReCacheReport", "inputs": {"samples": ["9", 0], "model": ["8", 0]}},
        "latent": {"class_type": "SaveLatent", "inputs": {"samples": ["9", 0], "filename_prefix": "soak"}},
    }


def _text(text: str, model: str) -> dict:
    return {"class_type": "ReCacheTestTextEncode", "inputs": {"text": text, "model": model}}


def short_training(rng: Random) -> dict:
    """A training of some seconds, whose policy is not saved: "auto" would use it."""
    prompt = training(evaluations=100, minutes=0.2, seed=rng.randrange(1000))
    return {key: node for key, node in prompt.items() if key != "6"}


@dataclass
class Soak:
    """Prompts on one server.

    Attributes:
        different: numbers of the prompts whose latent was not the one that their workflow gives alone.
        endings: how many ended how. memory: of the server in bytes, after every prompt.
    """

    server: Server
    client: Client
    rng: Random
    kinds: int
    different: list[int] = field(default_factory=list)
    endings: Counter = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process = psutil.Process(self.server.process.pid)
        self.workflows = [workflow(self.rng) for _ in range(self.kinds)]
        self.alone = [self._alone(each) for each in self.workflows]

    def _alone(self, prompt: dict):
        self.client.free()
        return self._latent(self.client.run(prompt).check())

    def _latent(self, result: Result):
        [saved] = result.outputs["latent"]["latents"]
        return load_file(self.server.output / saved["subfolder"] / saved["filename"])["latent_tensor"]

    def run(self, prompts: int) -> None:
        """Runs so many prompts: single ones, cancelled ones, and some that wait in a row; seldom a training."""
        done, last = 0, -1
        while done < prompts:
            numbers = list(self._numbers(last))[: prompts - done]
            last = numbers[-1]
            queued = [self._queue(number) for number in numbers]
            if self.rng.random() < 0.3:
                self._cancel(queued[0])
            for number, prompt in zip(numbers, queued):
                self._ended(done, number, self.client.wait(prompt))
                done += 1
            self.memory.append(self.process.memory_info().rss)
            print(f"{done} of {prompts}", file=sys.stderr, flush=True)

    def _numbers(self, last: int) -> Iterator[int]:
        """Workflows, no two alike in a row: the host would give the second's latent without sampling."""
        for _ in range(self.rng.choice([1, 1, 1, 3])):
            last = self.rng.choice([number for number in range(-1, self.kinds) if number != last])
            last = self.rng.randrange(self.kinds) if last == -1 and self.rng.random() < 0.7 else last
            yield last

    def _queue(self, number: int) -> str:
        if number == -1:
            return self.client.queue(short_training(self.rng))
        page = {"extra_pnginfo": {"workflow": {"id": f"soak {number}", "nodes": []}}}
        prompt = self.client.queue(self.workflows[number], page)
        self.client.post("/recache/plan", asked(ksampler(budget({"type": "x", "inputs": {}}), steps=TRAINING_STEPS)))
        return prompt

    def _cancel(self, prompt: str) -> None:
        """At once, or after some steps."""
        steps = self.rng.choice([0, 1, 3])
        progress = self.client.progress_of(prompt)
        self.client.receive(lambda: len(progress.progress) >= steps or progress.status != "running")
        self.client.interrupt()

    def _ended(self, done: int, number: int, result: Result) -> None:
        if result.status == "interrupted":
            self.endings["cancelled"] += 1
            return
        result.check()
        self.endings["trained" if number == -1 else "sampled"] += 1
        if number >= 0:
            latent = self._latent(result)
            expected = self.alone[number]
            if latent.shape != expected.shape or not bool((latent == expected).all()):
                self.different.append(done)

    @property
    def growth(self) -> float:
        """Memory in the last quarter over that in the second."""
        quarter = max(1, len(self.memory) // 4)
        return median(self.memory[-quarter:]) / median(self.memory[quarter : 2 * quarter] or self.memory)


def main() -> None:
    parser = argparse.ArgumentParser(prog="nox -s soak --", description=__doc__)
    parser.add_argument("--prompts", type=int, default=300)
    parser.add_argument("--kinds", type=int, default=16, help="of workflows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="write the figures into docs/reliability.md")
    options = parser.parse_args()
    with serve(os.environ["COMFYUI_PATH"], test_nodes=True, threads=1, timeout=1200) as server:
        install(server)
        with Client(server.url, timeout=3600) as client:
            soak = Soak(server, client, Random(options.seed), options.kinds)
            with suppress(KeyboardInterrupt):  # what was done until then is told all the same
                soak.run(options.prompts)
            complaints = server.complaints()
    megabytes = [round(bytes / 2**20) for bytes in soak.memory]
    quarter = max(1, len(megabytes) // 4)
    rows = [["prompts", "ended", "latents that differ", "memory, by quarter of the run (MB, median)"], [
        soak.endings.total(), ", ".join(f"{count} {how}" for how, count in soak.endings.most_common()),
        len(soak.different), ", ".join(
            str(round(median(megabytes[at : at + quarter]))) for at in range(0, 4 * quarter, quarter)
            if megabytes[at : at + quarter])]]
    print(table(rows), *complaints, sep="\n")
    if options.write:
        write_section("soak", table(rows))
    sys.exit(bool(soak.different or complaints) or soak.growth > MOST_GROWTH)


if __name__ == "__main__":
    main()
