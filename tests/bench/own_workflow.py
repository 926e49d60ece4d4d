"""An artist's own workflow at several budgets against its uncached run: ``bench quality --workflow FILE.json``.

The workflow is one in API format, with saved or previewed pictures or videos at its end; it runs on the ComfyUI that
``--server`` names, with ReCache installed. Where it has no ReCache node, one is put before every sampler's model,
and one for both where a second model takes up the first one's latent; else the budgets are set on its own, and 1 stands
for uncached. A run with another seed warms up.

Into ``--out``: ``index.html`` with all figures and pictures in one file; the outputs in a folder for each budget; with
videos, ``vbench/<budget>/{prompt}-{index}.mp4``, as VBench wants them to be named.

Figures, means over seeds and frames: ``st_lpips`` and, where AlexNet is at hand, ``lpips`` (lower is better), ``psnr``
in dB, ``ssim``; ``seconds`` of the whole workflow, its loaders and decoders included, and ``speedup`` over uncached.
"""

from __future__ import annotations

import base64
import copy
import html
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageSequence

from tests.bench.figures import Figure
from tests.bench.st_lpips import st_lpips
from tests.hosting.client import Client, Result

SAMPLERS = ("KSampler", "KSamplerAdvanced", "SamplerCustom", "CFGGuider", "BasicGuider", "DualCFGGuider")
BUDGET, TWO_MODELS = "ReCacheBudget", "ReCacheBudgetTwoModels"
VIDEO = (".mp4", ".webm", ".mkv", ".mov")
SEEDS = ("seed", "noise_seed")
STYLE = ("body{font:15px sans-serif;margin:2em;background:#fff;color:#111}table{border-collapse:collapse;margin:1em 0}"
         "td,th{padding:.3em .8em;border-bottom:1px solid #ccc;text-align:right}td:first-child,th:first-child"
         "{text-align:left}.row{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}"
         "img{width:320px;max-width:100%;image-rendering:auto}")


HEADINGS = {
    "seconds": "seconds", "speedup": "times as fast", "st_lpips": "ST-LPIPS<br>(lower is closer)",
    "lpips": "LPIPS<br>(lower is closer)", "psnr": "PSNR in dB<br>(higher is closer)",
    "ssim": "SSIM<br>(higher is closer)"}


class WorkflowError(RuntimeError):
    """This workflow can't be measured; the message is a sentence for the artist."""


Prompt = dict[str, dict[str, Any]]


def at_budget(prompt: Prompt, budget: float | None, seed: int = 0) -> Prompt:
    """The workflow at this budget; None: uncached. `seed` is added to its seeds.

    Raises:
        WorkflowError: there is no sampler to put ReCache before.
    """
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        for name in SEEDS:
            if isinstance(node["inputs"].get(name), int):
                node["inputs"][name] += seed
    own = [node for node in prompt.values() if node["class_type"].startswith(BUDGET)]
    for node in own:
        node["inputs"]["budget"] = 1.0 if budget is None else budget
    if own or budget is None:
        return prompt
    users = [node for node in prompt.values()
             if node["class_type"] in SAMPLERS and isinstance(node["inputs"].get("model"), list)]
    if not users:
        raise WorkflowError("there is no sampler that ReCache could be put before; put one into the workflow.")
    pair = _experts(prompt)
    sources = {tuple(node["inputs"]["model"]) for node in users} - set(pair)
    wrapped = {source: [f"recache-budget-{source[0]}-{source[1]}", 0] for source in sources}
    for source, (name, _) in wrapped.items():
        prompt[name] = {"class_type": BUDGET, "inputs": {"model": list(source), "budget": budget, "policy": "auto"}}
    if pair:
        prompt["recache-budget"] = {"class_type": TWO_MODELS, "inputs": {
            "high_noise": list(pair[0]), "low_noise": list(pair[1]), "budget": budget, "policy": "auto"}}
        wrapped |= {source: ["recache-budget", i] for i, source in enumerate(pair)}
    for node in users:
        node["inputs"]["model"] = wrapped[tuple(node["inputs"]["model"])]
    return prompt


def _experts(prompt: Prompt) -> list[tuple]:
    """The models of the first two samplers of which the second takes up the other one's latent with its noise."""
    for second in prompt.values():
        latent = second["inputs"].get("latent_image")
        if second["class_type"] != "KSamplerAdvanced" or second["inputs"].get("add_noise") != "disable" or (
                not isinstance(latent, list)):
            continue
        first = prompt[latent[0]]
        models = [tuple(node["inputs"].get("model", ())) for node in (first, second)]
        if first["class_type"] == "KSamplerAdvanced" and models[0] != models[1]:
            return models
    return []


def text_of(prompt: Prompt) -> str:
    """The positive prompt of the first sampler: the first text on the way back from it; "" if there is none."""
    starts = [node["inputs"].get(name) for node in prompt.values() if node["class_type"] in SAMPLERS
              for name in ("positive", "conditioning")]
    waiting = [link[0] for link in starts if isinstance(link, list)]
    for id in waiting:  # grows as it is read
        inputs = prompt.get(id, {"inputs": {}})["inputs"]
        texts = [inputs[name] for name in ("text", "prompt", "t5xxl", "clip_l") if isinstance(inputs.get(name), str)]
        if texts:
            return texts[0].strip()
        waiting += [link[0] for link in inputs.values() if isinstance(link, list) and link[0] not in waiting]
    return ""


@dataclass
class Output:
    """What one run made.

    Attributes:
        frames: [count, 3, height, width] in 0..1: all pictures, and all frames of all videos.
        shown: the frames of the last video or animation, or all pictures where there is none.
        files: (name, content) of what was saved.
        fps: frames a second of the last video, or None where there is none.
    """

    frames: torch.Tensor
    shown: torch.Tensor
    files: list[tuple[str, bytes]]
    fps: float | None
    seconds: float


def fetch(client: Client, result: Result) -> Output:
    """The output of a run.

    Raises:
        WorkflowError: it showed no picture and no video.
    """
    references = [entry for ui in result.outputs.values() for values in ui.values() if isinstance(values, list)
                  for entry in values if isinstance(entry, Mapping) and "filename" in entry]
    frames, files, fps, shown = [], [], None, slice(None)
    for reference in references:
        query = {name: reference.get(name, "") for name in ("filename", "subfolder", "type")}
        name, content = query["filename"], client.file(query)
        files.append((name, content))
        start = len(frames)
        if name.lower().endswith(VIDEO):
            made, fps = decode(content)
            frames += made
        else:
            picture = Image.open(io.BytesIO(content))  # of one frame, or animated
            frames += [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]
            if getattr(picture, "n_frames", 1) > 1:
                fps = 1000.0 / (picture.info.get("duration") or 125)
        if len(frames) > start + 1:
            shown = slice(start, len(frames))
    if not frames:
        raise WorkflowError("the workflow shows no picture and no video; end it with Save Image or Save Video.")
    pictures = torch.from_numpy(np.stack(frames)).movedim(-1, 1).float() / 255
    return Output(pictures, pictures[shown], files, fps, result.seconds)


def decode(video: bytes) -> tuple[list[np.ndarray], float]:
    """The frames [height, width, 3] of a video, and how many there are a second."""
    with av.open(io.BytesIO(video)) as container:
        stream = container.streams.video[0]
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], float(stream.average_rate or 8)


def write_video(path: Path, frames: torch.Tensor, fps: float) -> None:
    """An MP4 of frames [count, 3, height, width], of even sizes."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=round(fps))
        stream.width, stream.height = frames.shape[3] // 2 * 2, frames.shape[2] // 2 * 2
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "10"}
        for frame in (frames.movedim(1, -1) * 255).round().to(torch.uint8).numpy():
            packed = np.ascontiguousarray(frame[:stream.height, :stream.width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(packed, format="rgb24")))
        container.mux(stream.encode())


def vbench_name(prompt: str, index: int) -> str:
    """VBench's name of a video; what file systems do not take becomes a space."""
    plain = "".join(" " if c in '/\\:*?"<>|' or not c.isprintable() else c for c in prompt)
    return f"{' '.join(plain.split())[:180].strip() or 'video'}-{index}.mp4"


def compare(output: Output, uncached: Output) -> dict[str, float]:
    """The figures of one run against the uncached one.

    Raises:
        WorkflowError: the outputs are not of the same size and number.
    """
    from recache.policies.metrics import distances

    a, b = output.frames, uncached.frames
    if a.shape != b.shape:
        raise WorkflowError("the cached and the uncached outputs are not of the same size; fix what is random in it.")
    x, y = a.movedim(1, -1), b.movedim(1, -1)
    found = {"psnr": -float(distances.psnr(x, y).mean()), "ssim": 1.0 - float(distances.ssim(x, y).mean())}
    if min(a.shape[2:]) >= 64:
        found["st_lpips"] = float(st_lpips(a, b).mean())
    metric, name, _ = distances.perceptual()
    return found | ({"lpips": float(metric(x, y).mean())} if name == "LPIPS" else {})


def measure(client: Client, prompt: Prompt, budgets: list[float], seeds: int, out: Path, text: str,
            ) -> Iterator[tuple[Figure, dict[float | None, Output]]]:
    """Figures, and the first seed's outputs so far."""
    client.run(at_budget(prompt, min(budgets), seed=seeds)).check()
    first: dict[float | None, Output] = {}
    scores: dict[float | None, list[dict[str, float]]] = {budget: [] for budget in (None, *budgets)}
    for seed in range(seeds):
        uncached = None
        for budget in scores:
            output = fetch(client, client.run(at_budget(prompt, budget, seed)).check())
            uncached = uncached or output
            first.setdefault(budget, output)
            save(out, budget, output, text, seed)
            times = {"seconds": output.seconds, "speedup": uncached.seconds / output.seconds}
            scores[budget].append(times | (compare(output, uncached) if budget is not None else {}))
    for budget, rows in scores.items():
        for name in rows[0]:
            value = sum(row[name] for row in rows) / len(rows)
            unit = {"seconds": "s", "psnr": "dB"}.get(name, "1")
            yield Figure(name, value, unit, {"budget": label(budget), "seeds": seeds}), first


def label(budget: float | None) -> str:
    """Of a budget, in tables and folders."""
    return "uncached" if budget is None else f"{budget:g}"


def save(out: Path, budget: float | None, output: Output, text: str, index: int) -> None:
    """The files of a run, and its video under VBench's name."""
    folder = out / label(budget) / str(index)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in output.files:
        (folder / Path(name).name).write_bytes(content)
    if output.fps is not None:
        path = out / "vbench" / label(budget) / vbench_name(text, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        videos = [content for name, content in output.files if name.lower().endswith(".mp4")]
        if videos:
            path.write_bytes(videos[-1])
        else:
            write_video(path, output.shown, output.fps)


def page(figures: list[Figure], outputs: Mapping[float | None, Output], text: str) -> str:
    """One HTML page that needs no other file."""
    shown = []
    for budget, output in outputs.items():
        count = len(output.shown)
        pictures = "".join(f'<img alt="" src="{_data(output.shown[i])}">' for i in sorted({0, count // 2, count - 1}))
        shown.append(f"<figure><figcaption>{label(budget)}</figcaption><div class=row>{pictures}</div></figure>")
    names = list(dict.fromkeys(figure.name for figure in figures))
    rows: dict[str, dict[str, str]] = {}
    for figure in figures:
        rows.setdefault(figure.cell["budget"], {})[figure.name] = f"{figure.value:.4g}"
    head = "".join(f"<th>{HEADINGS[name]}" for name in names)
    body = "".join(f"<tr><td>{budget}" + "".join(f"<td>{row.get(name, '')}" for name in names)
                   for budget, row in rows.items())
    return (f"<!doctype html><meta charset=utf-8><title>ReCache: quality</title><style>{STYLE}</style>"
            f"<h1>Quality at several budgets</h1><p>{html.escape(text)}</p>"
            f"<table><tr><th>budget{head}{body}</table><p>The first seed, at the first, middle and last frame or "
            f"picture:</p>{''.join(shown)}")


def _data(frame: torch.Tensor) -> str:
    packed = io.BytesIO()
    Image.fromarray((frame.movedim(0, -1) * 255).round().to(torch.uint8).numpy()).save(packed, "JPEG", quality=92)
    return "data:image/jpeg;base64," + base64.b64encode(packed.getvalue()).decode()


def run(options) -> list[Figure]:
    """Measure and write everything; the figures."""
    prompt = json.loads(options.workflow.read_text(encoding="utf-8"))
    if not isinstance(prompt, dict) or not all(isinstance(n, dict) and "class_type" in n for n in prompt.values()):
        raise WorkflowError("this is not a workflow in API format; use Workflow > Export (API) in ComfyUI.")
    text = options.prompt or text_of(prompt)
    options.out.mkdir(parents=True, exist_ok=True)
    with Client(options.server, timeout=24 * 3600.0) as client:
        if BUDGET not in client.object_info():
            raise WorkflowError(f"the ComfyUI at {options.server} has no ReCache; install the pack there.")
        found = list(measure(client, prompt, options.budgets, options.seeds, options.out, text))
    figures = [figure for figure, _ in found]
    (options.out / "index.html").write_text(page(figures, found[-1][1], text), encoding="utf-8")
    print(f"written to {options.out / 'index.html'}")
    return figures
