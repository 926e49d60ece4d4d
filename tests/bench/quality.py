"""Quality at equal computed evaluations: mechanisms, cache points, schedules, the host's caches and fewer steps.

The reference of every sample is the uncached run of the same model, prompt and noise; prompts and seeds were never
trained on. "learned" schedules are those of the demo policies that the pack ships; EasyCache, LazyCache and DiCache's
online probe get a threshold, tuned on some of these samples, that makes them compute k evaluations or a few more (see
rivals).

Figures: ``st_lpips`` (lower is better, mean over samples and frames), ``psnr`` in dB, ``latent_mse``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from os import environ
from pathlib import Path

import torch

from tests.bench import own_workflow
from tests.bench.figures import Figure, publish
from tests.bench.st_lpips import st_lpips
from tests.hosting import session

STEPS = 50
COUNTS = (7, 9, 13)
MECHANISMS = (
    ("reuse", 1), ("residual", 1), ("taylor", 1), ("taylor", 2), ("taylor", 3), ("hermite", 1), ("hermite", 2),
    ("hermite", 3), ("dicache", 1))


def compare(demo, latents: torch.Tensor, reference: torch.Tensor, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """The figures of each sample, [B] each, against reference latents and their pictures [B, frames, 3, h, w]."""
    found = demo.pictures(latents)
    mse = (found - pictures).square().mean((1, 2, 3, 4)).clamp_min(1e-12)
    frames = pictures.shape[1]
    return {
        "st_lpips": st_lpips(found.flatten(0, 1), pictures.flatten(0, 1)).unflatten(0, (-1, frames)).mean(1),
        "psnr": -10 * mse.log10(),
        "latent_mse": (latents - reference).square().flatten(1).mean(1),
    }


def figures_of(scores: dict[str, torch.Tensor], cell: dict) -> Iterator[Figure]:
    """Means over samples and, for ``st_lpips``, half of its 95% interval."""
    cell = cell | {"device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"}
    units = {"st_lpips": "1", "psnr": "dB", "latent_mse": "1"}
    for name, values in scores.items():
        yield Figure(name, float(values.mean()), units[name], cell)
    spread = scores["st_lpips"]
    yield Figure("st_lpips_ci95", float(1.96 * spread.std() / len(spread) ** 0.5), "1", cell)


def learned(model: str, mechanism: str, order: int, k: int):
    """The schedule of the demo model's policy for this mechanism, or None where the pack ships none."""
    from recache.nodes.library.folders import SHIPPED
    from recache.policies.policy_file import load

    name = f"demo-{model}-{mechanism}" + (str(order) if mechanism in ("taylor", "hermite") else "") + ".safetensors"
    return load(name, SHIPPED).policy.schedule(k) if (SHIPPED / name).exists() else None


def measure(models: list[str], count: int, counts: tuple[int, ...], mechanisms, points, rivals: Sequence[str] | None,
            models_dir: Path) -> Iterator[Figure]:
    from recache import caching
    from recache.policies.uniform import uniform
    from tests.bench import demo_models
    from tests.bench.rivals import RIVALS, TUNED_ON, tuned

    for name in models:
        demo = demo_models.load(name, models_dir)
        samples = demo.samples(count)
        reference = demo.sample(demo.model, samples, STEPS)
        pictures = demo.pictures(reference)
        caches = {}
        for rival in () if rivals is None else rivals or RIVALS:
            few, all_samples = (partial(RIVALS[rival], demo, part, STEPS) for part in (samples[:TUNED_ON], samples))
            caches[rival] = tuned(few, all_samples, counts)
            print(f"{name} {rival}: {({k: computed for k, (_, computed) in caches[rival].items()})}", file=sys.stderr)
        for k in counts:
            latents = demo.sample(demo.model, samples, k)
            cell = {"model": name, "mechanism": "none", "order": "-", "cache_point": "-", "schedule": "fewer steps",
                    "k": k, "n": STEPS}
            yield from figures_of(compare(demo, latents, reference, pictures), cell)
            for rival in caches:
                latents, computed = caches[rival][k]
                cell = {"model": name, "mechanism": rival, "order": "-", "cache_point": "-", "schedule": "threshold",
                        "k": k, "n": STEPS}
                yield Figure("computed", computed, "1", cell)
                yield from figures_of(compare(demo, latents, reference, pictures), cell)
            choices = ((m, p, s) for m in mechanisms for p in points for s in ("uniform", "learned"))
            for (mechanism, order), point, kind in choices:
                schedule = uniform(STEPS, k) if kind == "uniform" else learned(name, mechanism, order, k)
                if schedule is None or (mechanism == "dicache" and point == "output"):
                    continue
                started = time.monotonic()
                settings = caching.CacheConfig(
                    lambda times, cost, schedule=schedule: schedule.computed, mechanism=mechanism, order=order,
                    cache_point=point)
                latents = demo.sample(caching.attach(demo.model, settings), samples, STEPS)
                report = caching.reports_of(settings.identity)[-1]
                if len(report.computed) != k or report.cache_point != point:
                    raise RuntimeError(
                        f"{len(report.computed)} computed at {report.cache_point}, not {k}: {report.notes}")
                cell = {"model": name, "mechanism": mechanism, "order": order, "cache_point": point,
                        "schedule": kind, "k": k, "n": STEPS}
                yield from figures_of(compare(demo, latents, reference, pictures), cell)
                seconds = time.monotonic() - started
                print(f"{name} {mechanism} {order} {point} {kind} k={k}: {seconds:.0f} s", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--samples", type=int, default=64, help="prompt-seed pairs")
    parser.add_argument("--k", type=int, nargs="+", default=list(COUNTS))
    parser.add_argument("--mechanism", nargs="+", help="only these")
    parser.add_argument("--point", nargs="+", default=["output", "blocks"], help="only at these cache points")
    parser.add_argument("--rivals", nargs="*", help="EasyCache, LazyCache and DiCache too, or only these")
    own = parser.add_argument_group("an artist's own workflow (see own_workflow)")
    own.add_argument("--workflow", type=Path, help="measure this workflow, in API format, instead of the demo models")
    own.add_argument("--server", default="http://127.0.0.1:8188", help="the ComfyUI that runs it, with ReCache")
    own.add_argument("--budgets", type=float, nargs="+", default=[0.3, 0.5])
    own.add_argument("--seeds", type=int, default=1, help="runs at each budget, of seeds one after the other")
    own.add_argument("--prompt", default="", help="names the videos for VBench; default: the workflow's prompt")
    own.add_argument("--out", type=Path, default=Path("quality"), help="folder for the page, pictures and videos")
    arguments = parser.parse_args()
    if arguments.workflow:
        try:
            publish(own_workflow.run(arguments), arguments.json)
        except own_workflow.WorkflowError as error:
            sys.exit(f"{arguments.workflow}: {error}")
        return
    mechanisms = [m for m in MECHANISMS if not arguments.mechanism or m[0] in arguments.mechanism]
    with tempfile.TemporaryDirectory() as base, torch.inference_mode():
        host = session.start(environ["COMFYUI_PATH"], base, cpu=not torch.cuda.is_available())
        publish(list(measure(arguments.models, arguments.samples, tuple(arguments.k), mechanisms,
                             arguments.point, arguments.rivals, host.models)), arguments.json)


if __name__ == "__main__":
    main()
