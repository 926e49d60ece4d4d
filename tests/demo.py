"""The main job, end to end: real workflows through a real server, a contact sheet and a table on disk.

The trained FLUX-architecture model draws a few pictures uncached and under several budgets and mechanisms.
"""

from __future__ import annotations

import argparse
import json
import shutil
from os import environ
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from tests.bench.st_lpips import st_lpips
from tests.hosting.client import Client
from tests.hosting.server import serve
from tests.trained import WEIGHTS

STEPS, CFG, SHIFT = 50, 2.0, 3.0
BUDGETS = (0.5, 0.26, 0.18, 0.14)
MECHANISMS = ("taylor", "hermite", "reuse")
PROMPTS = (
    "a red apple on a blue background", "a penguin on a orange background", "a fox on a grey background",
    "a octopus on a green background", "a butterfly on a white background", "a strawberry on a pink background")


def workflow(budget: float | None, mechanism: str = "taylor", prompts=PROMPTS) -> dict[str, dict]:
    """The workflow in API format: one sampler for each prompt, all on one model; `budget` None leaves ReCache out.

    Node "image-i" shows picture i, "json-i" its report.
    """
    nodes = {
        "unet": {"class_type": "UNETLoader", "inputs": {"unet_name": "flux.safetensors", "weight_dtype": "default"}},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "autoencoder.safetensors"}},
        "empty": {"class_type": "ReCacheTestTextEncode", "inputs": {"text": "", "model": "flux"}},
        "latent": {"class_type": "EmptySD3LatentImage", "inputs": {"width": 128, "height": 128, "batch_size": 1}},
    }
    nodes["shift"] = {"class_type": "ModelSamplingAuraFlow", "inputs": {"model": ["unet", 0], "shift": SHIFT}}
    model = ["shift", 0]
    if budget is not None:
        nodes["budget"] = {"class_type": "ReCacheBudget", "inputs": {
            "model": model, "budget": budget, "policy": "uniform", "mechanism": mechanism}}
        model = ["budget", 0]
    for i, prompt in enumerate(prompts):
        nodes[f"text-{i}"] = {"class_type": "ReCacheTestTextEncode", "inputs": {"text": prompt, "model": "flux"}}
        nodes[f"sampler-{i}"] = {"class_type": "KSampler", "inputs": {
            "model": model, "positive": [f"text-{i}", 0], "negative": ["empty", 0], "latent_image": ["latent", 0],
            "seed": 7 + i, "steps": STEPS, "cfg": CFG, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}}
        latent = [f"sampler-{i}", 0]
        if budget is not None:
            nodes[f"report-{i}"] = {
                "class_type": "ReCacheReport", "inputs": {"samples": latent, "model": ["budget", 0]}}
            nodes[f"json-{i}"] = {"class_type": "PreviewAny", "inputs": {"source": [f"report-{i}", 3]}}
            latent = [f"report-{i}", 0]
        nodes[f"decode-{i}"] = {"class_type": "VAEDecode", "inputs": {"samples": latent, "vae": ["vae", 0]}}
        nodes[f"image-{i}"] = {"class_type": "SaveImage", "inputs": {
            "images": [f"decode-{i}", 0], "filename_prefix": f"{mechanism}-{budget or 'uncached'}-{i}"}}
    return nodes


def run(client: Client, budget: float | None, mechanism: str = "taylor") -> tuple[list[Image.Image], list[dict]]:
    """The pictures of a workflow and its reports."""
    result = client.run(workflow(budget, mechanism)).check()
    pictures = [client.images(result, f"image-{i}")[0].convert("RGB") for i in range(len(PROMPTS))]
    reports = [json.loads(result.outputs[f"json-{i}"]["text"][0]) for i in range(len(PROMPTS))] if budget else []
    return pictures, reports


def compare(pictures: list[Image.Image], references: list[Image.Image]) -> dict[str, float]:
    """Mean PSNR (dB), SSIM and ST-LPIPS against the uncached pictures."""
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(pictures, references)]
    found, wanted = (torch.stack([torch.from_numpy(side.copy()).movedim(-1, 0) / 255.0 for side in sides])
                     for sides in zip(*pairs))
    return {
        "PSNR": float(np.mean([peak_signal_noise_ratio(b, a) for a, b in pairs if (a != b).any()] or [np.inf])),
        "SSIM": float(np.mean([structural_similarity(b, a, channel_axis=2) for a, b in pairs])),
        "ST-LPIPS": float(st_lpips(found, wanted).mean()),
    }


def contact_sheet(rows: list[tuple[str, list[Image.Image]]]) -> Image.Image:
    """One row of pictures for each run, its name on the left."""
    size, label = rows[0][1][0].width, 250
    sheet = Image.new("RGB", (label + size * len(PROMPTS), size * len(rows)), (28, 30, 36))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=17)
    for y, (name, pictures) in enumerate(rows):
        draw.multiline_text((12, y * size + size // 3), name, fill=(230, 232, 236), font=font)
        for x, picture in enumerate(pictures):
            sheet.paste(picture, (label + x * size, y * size))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo_output"), help="folder for pictures and table")
    out = parser.parse_args().out.resolve()
    out.mkdir(parents=True, exist_ok=True)

    rows, lines = [], []
    heading = (f"{'mechanism':10} {'budget':>6} {'computed':>9} {'planned':>8} {'measured':>9} "
               f"{'PSNR':>7} {'SSIM':>6} {'ST-LPIPS':>9}")
    with serve(environ["COMFYUI_PATH"], test_nodes=True) as server, Client(server.url) as client:
        for name, folder in (("flux", "diffusion_models"), ("autoencoder", "vae")):
            shutil.copy(WEIGHTS / f"{name}.safetensors", server.models / folder)
        references, _ = run(client, None)
        rows.append(("uncached", references))
        for mechanism in MECHANISMS:
            for budget in BUDGETS:
                pictures, reports = run(client, budget, mechanism)
                k, n = len(reports[0]["computed"]), reports[0]["evaluations"]
                planned = reports[0]["planned_speedup"]
                measured = float(np.median([report["measured_speedup"] for report in reports]))
                scores = compare(pictures, references)
                lines.append(
                    f"{mechanism:10} {budget:6.2f} {f'{k} of {n}':>9} {planned:7.1f}x {measured:8.1f}x "
                    f"{scores['PSNR']:7.2f} {scores['SSIM']:6.3f} {scores['ST-LPIPS']:9.4f}")
                rows.append((f"{mechanism}, budget {budget:.2f}\n{k} of {n} computed", pictures))
                print(lines[-1] if len(lines) > 1 else f"{heading}\n{lines[-1]}", flush=True)
    contact_sheet(rows).save(out / "contact-sheet.png")
    (out / "table.txt").write_text("\n".join([heading, *lines]) + "\n", encoding="utf-8")
    print(f"\npictures: {out / 'contact-sheet.png'}\ntable:    {out / 'table.txt'}")


if __name__ == "__main__":
    main()
