"""The pictures under Templates: the workflow's name, its schedule, and what the demo models make under that schedule.

No picture is of a model that isn't ours: the suite's own demo models (tests/trained) draw them, once with every
evaluation and once with those that the budget pays for.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from tests.authoring.catalogue import Workflow
from tests.hosting.client import Client
from tests.trained import WEIGHTS

SIZE, EDGE, GAP = 480, 22, 12
TOP, BOTTOM = (36, 34, 38), (18, 21, 29)
FIRST, LAST, CACHED = (255, 196, 72), (245, 110, 54), (82, 92, 110)
TITLE, TEXT = (250, 248, 243), (163, 172, 186)
FRAMES = (0, 3, 6, 8)  # of a clip's nine
# What the demo models draw for each workflow; clips are of things that the Wan demo model knows.
SCENES = {
    "FLUX.1-dev text to image": "a fox on a green background",
    "FLUX.1-dev image to image": "a penguin on a orange background",
    "FLUX.1 Kontext edit": "a rose on a pink background",
    "FLUX.2-dev text to image": "a owl on a purple background",
    "Wan 2.1 text to video": "a rocket moving up on a blue background",
    "Wan 2.1 image to video": "a sailboat moving left on a blue background",
    "Wan 2.2 14B text to video": "a turtle moving right on a green background",
    "HunyuanVideo text to video": "a butterfly growing on a yellow background",
    "Qwen-Image text to image": "a strawberry on a white background",
    "Z-Image text to image": "a tulip on a yellow background",
    "Krea 2 Turbo text to image": "a cactus on a orange background",
    "FLUX.2 Klein text to image": "a robot on a blue background",
    "MiniMax H3 text to video": "a helicopter moving up on a green background",
    "LTX-2 text to video": "a red balloon moving up on a blue background",
    "LTX-2.3 text to video": "a taxi moving left on a grey background",
    "Qwen-Image-Edit": "a mushroom on a green background",
    "Anima text to image": "a unicorn on a pink background",
    "Bernini-R image edit": "a cupcake on a purple background",
    "SCAIL-2 character replacement": "a penguin moving right on a blue background",
    "SDXL text to image": "a pineapple on a blue background",
    "Train a policy for FLUX.1-dev": "a crown on a purple background",
    "Train a policy for Wan 2.1": "a fish moving left on a blue background",
    "Compare cached and uncached": "a fox on a grey background",
    "Choose a budget by the frontier": "a butterfly on a white background",
}
# What these nodes show is the thumbnail's picture; of a tall one, so much of its top.
SHOWN = {"ReCacheCompare": 10_000, "ReCacheFrontier": 444}


@dataclass(frozen=True)
class Scene:
    """What the demo model made.

    Attributes:
        full: pictures with every evaluation computed.
        cached: the same under the budget.
        computed: the evaluations that were; with a frontier, at its knee.
        shown: the picture of a node that is what the workflow is about, if there is one.
    """

    full: list[Image.Image]
    cached: list[Image.Image]
    computed: list[int]
    shown: Image.Image | None


def install(models: Path) -> None:
    """Puts the demo models where the server finds them."""
    for name, folder in (("flux", "diffusion_models"), ("wan", "diffusion_models"), ("autoencoder", "vae")):
        shutil.copy(WEIGHTS / f"{name}.safetensors", models / folder)


def play(client: Client, workflow: Workflow) -> Scene:
    """Runs the demo model for a workflow's thumbnail, with its number of evaluations and its budget."""
    uncached, cached = _prompt(workflow, None), _prompt(workflow, workflow.budget)
    full = client.images(client.run(uncached).check(), "save")
    shown = None
    for kind in SHOWN:
        if any(kind == node for node, _ in workflow.nodes.values()):
            about = client.run(_about(kind, workflow, uncached, cached)).check()
            (shown,) = client.images(about, "about")
            shown = shown.crop((0, 0, shown.width, min(shown.height, SHOWN[kind])))
            (knee,) = about.outputs["about"].get("recache_knee", [None])
            cached = cached if knee is None else _prompt(workflow, knee)
    result = client.run(cached).check()
    computed = json.loads(result.outputs["json"]["text"][0])["computed"]
    return Scene(full, client.images(result, "save"), computed, shown)


def draw(workflow: Workflow, scene: Scene) -> Image.Image:
    """The thumbnail."""
    down = np.linspace(0.0, 1.0, SIZE)[:, None, None]
    shade = np.asarray(TOP) * (1 - down) + np.asarray(BOTTOM) * down
    image = Image.fromarray(np.broadcast_to(shade, (SIZE, SIZE, 3)).round().astype(np.uint8))
    pen = ImageDraw.Draw(image)
    wide = SIZE - 2 * EDGE
    k, n = len(scene.computed), workflow.evaluations

    labels = ()
    if scene.shown is not None:
        shown = ImageOps.contain(scene.shown.convert("RGB"), (wide, 236), Image.Resampling.LANCZOS)
        _paste(image, shown, EDGE + (wide - shown.width) // 2, EDGE + (236 - shown.height) // 2, *shown.size)
    elif len(scene.full) == 1:
        side = (wide - GAP) // 2
        for x, picture in ((EDGE, scene.full[0]), (EDGE + side + GAP, scene.cached[0])):
            _paste(image, picture, x, EDGE, side, side)
        labels = ((EDGE, EDGE + side + 4), (EDGE + side + GAP, EDGE + side + 4))
    else:
        side = (wide - 3 * 8) // 4
        for row, frames in enumerate((scene.full, scene.cached)):
            for column, frame in enumerate(FRAMES):
                _paste(image, frames[frame], EDGE + column * (side + 8), EDGE - 8 + row * (side + 26), side, side)
        labels = ((EDGE, EDGE + side - 8), (EDGE, EDGE + 2 * side + 18))
    for (x, y), label in zip(labels, (f"all {n} computed", f"{k} of {n} computed")):
        pen.text((x, y), label, fill=TEXT, font=_font(17))

    size = 38
    while pen.textlength(workflow.name, _font(size)) > wide:
        size -= 1
    pen.text((EDGE, 308), workflow.name, fill=TITLE, font=_font(size), anchor="ls", stroke_width=0.4, stroke_fill=TITLE)
    pen.text((EDGE, 337), workflow.line, fill=FIRST, font=_font(21), anchor="ls")
    _strip(pen, scene.computed, n, 388)
    pen.text((EDGE, SIZE - EDGE), f"{n / k:.1f}x faster", fill=TEXT, font=_font(19), anchor="ls")
    pen.text((SIZE - EDGE, SIZE - EDGE), "pictures: ReCache's demo model", fill=TEXT, font=_font(15), anchor="rs")
    return image


def _strip(pen: ImageDraw.ImageDraw, computed: list[int], n: int, middle: int) -> None:
    """The schedule as on the pack's banner: computed evaluations stand out."""
    cell = (SIZE - 2 * EDGE) / n
    gap = 2 if n > 30 else 3
    for i in range(n):
        left, right = EDGE + i * cell, EDGE + (i + 1) * cell - gap
        t = i / max(1, n - 1)
        color = tuple(round(a * (1 - t) + b * t) for a, b in zip(FIRST, LAST)) if i in computed else CACHED
        half = 28 if i in computed else 9
        pen.rounded_rectangle((left, middle - half, right, middle + half), radius=3, fill=color)


def _paste(image: Image.Image, picture: Image.Image, x: int, y: int, width: int, height: int) -> None:
    """Puts a picture in, scaled, with round corners."""
    mask = Image.new("L", (4 * width, 4 * height), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), radius=40, fill=255)
    scaled = picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS)
    image.paste(scaled, (x, y), mask.resize((width, height), Image.Resampling.LANCZOS))


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def _prompt(workflow: Workflow, budget: float | None) -> dict[str, dict]:
    """A run of the demo model in API format, under a budget or without ReCache."""
    video = any(word in SCENES[workflow.name] for word in (" moving ", " growing "))
    kind = "wan" if video else "flux"

    def text(words: str) -> dict:
        return _node("ReCacheTestTextEncode", text=words, model=kind)

    nodes = {
        "unet": _node("UNETLoader", unet_name=f"{kind}.safetensors", weight_dtype="default"),
        "shift": _node("ModelSamplingSD3" if video else "ModelSamplingAuraFlow", model=["unet", 0],
                       shift=8.0 if video else 3.0),
        "vae": _node("VAELoader", vae_name="autoencoder.safetensors"),
        "positive": text(SCENES[workflow.name]), "negative": text(""),
        "latent": (_node("EmptyHunyuanLatentVideo", width=96, height=96, length=33, batch_size=1) if video else
                   _node("EmptySD3LatentImage", width=128, height=128, batch_size=1)),
        "sampler": _node("KSampler", **_sampled(workflow), model=["shift", 0] if budget is None else ["budget", 0]),
        "decode": _node("VAEDecode", samples=["frames" if video else "sampler", 0], vae=["vae", 0]),
        "save": _node("SaveImage", images=["decode", 0], filename_prefix="thumbnail"),
    }
    if video:
        nodes["frames"] = _node("ReCacheTestFramesToBatch", samples=["sampler", 0])
    if budget is not None:
        nodes["budget"] = _node("ReCacheBudget", model=["shift", 0], budget=budget, policy="uniform",
                                mechanism="auto")
        nodes["report"] = _node("ReCacheReport", samples=["sampler", 0], model=["budget", 0])
        nodes["json"] = _node("PreviewAny", source=["report", 3])
    return nodes


def _about(kind: str, workflow: Workflow, uncached: dict[str, dict], cached: dict[str, dict]) -> dict[str, dict]:
    """The run of one of the SHOWN nodes, called "about"."""
    if kind == "ReCacheCompare":
        other = {"other sampler": uncached["sampler"],
                 "other decode": _node("VAEDecode", samples=["other sampler", 0], vae=["vae", 0])}
        return {**cached, **other, "about": _node(
            kind, uncached=["other decode", 0], cached=["decode", 0], rows=4, heat_scale=0.2)}
    return {**{key: uncached[key] for key in ("unet", "shift", "vae", "positive", "negative", "latent")},
            "about": _node(kind, **_sampled(workflow), model=["shift", 0], vae=["vae", 0], samples=2,
                           budgets="0.2, 0.3, 0.4, 0.5", fewer_steps=True, policy="uniform")}


def _sampled(workflow: Workflow) -> dict[str, Any]:
    return {"positive": ["positive", 0], "negative": ["negative", 0], "latent_image": ["latent", 0], "seed": 5,
            "steps": workflow.evaluations, "cfg": 2.5, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}
