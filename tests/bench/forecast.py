"""What a forecast is made over, and of: the choices behind the engine's, measured side by side.

positions: ranks of the evaluation times (the engine's; step numbers for Euler) against the times themselves.
feature: at the output, the direction (x - denoised) / sigma (the engine's) against the denoised picture.
polynomial: of order 2, Taylor's with x^2 / 2 (the engine's) against Newton's, which is exact for parabolas.

Figure ``relative_mse``: squared error of the latent over the variance of the uncached one, mean of the samples.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from os import environ
from pathlib import Path
from unittest import mock

import torch

from tests.bench.figures import Figure, publish
from tests.hosting import session

STEPS = 50
COUNTS = (7, 9, 13)
CELLS = [
    (mechanism, order, point, positions, feature, polynomial)
    for mechanism, order in (("taylor", 1), ("hermite", 1), ("taylor", 2))
    for point in ("output", "blocks")
    for positions in ("ranks", "times")
    for feature in (("direction", "denoised") if point == "output" else ("-",))
    for polynomial in (("taylor", "newton") if order == 2 else ("-",))
]


def newton(self, past, now, gamma=1.0) -> list[float]:
    """Weights of the polynomial through the remembered evaluations (Lagrange's form)."""
    past = past[: self.order + 1]
    weights = []
    for i, own in enumerate(past):
        weight = 1.0
        for j, other in enumerate(past):
            if i != j:
                weight *= (now - other) / (own - other)
        weights.append(weight)
    return weights


def times_in_steps(run) -> float:
    """The evaluation time, in units of one evaluation, rising over the run."""
    times = run.evaluations.times
    return (times[0] - times[run.index]) * (len(times) - 1) / (times[0] - times[-1])


def measure(models: list[str], count: int, cfgs: list[float], models_dir: Path) -> Iterator[Figure]:
    from recache import caching
    from recache.caching import run
    from recache.caching.feature_kind import FeatureKind
    from recache.caching.mechanisms import Taylor
    from recache.policies.uniform import uniform
    from tests.bench import demo_models

    for name in models:
        demo = demo_models.load(name, models_dir)
        samples = demo.samples(count)
        for demo.cfg in cfgs:
            reference = demo.sample(demo.model, samples, STEPS)
            for mechanism, order, point, positions, feature, polynomial in CELLS:
                for k in COUNTS:
                    settings = caching.CacheConfig(lambda times, cost, k=k: uniform(len(times), k).computed,
                                                mechanism=mechanism, order=order, cache_point=point)
                    with ExitStack() as changes:
                        if positions == "times":
                            changes.enter_context(mock.patch.object(run.Run, "position", times_in_steps))
                        if feature == "denoised":
                            changes.enter_context(mock.patch.object(
                                run, "feature_kind", return_value=FeatureKind.DENOISED))
                        if polynomial == "newton":
                            changes.enter_context(mock.patch.object(Taylor, "weights", newton))
                        latents = demo.sample(caching.attach(demo.model, settings), samples, STEPS)
                    error = float((latents - reference).square().mean() / reference.var())
                    yield Figure("relative_mse", error, "1", {
                        "model": name, "cfg": demo.cfg, "mechanism": mechanism, "order": order, "cache_point": point,
                        "positions": positions, "feature": feature, "polynomial": polynomial, "schedule": "uniform",
                        "k": k, "n": STEPS})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--samples", type=int, default=64, help="prompt-seed pairs")
    parser.add_argument("--cfg", type=float, nargs="+", default=[1.0, 2.0, 3.0])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, torch.inference_mode():
        host = session.start(environ["COMFYUI_PATH"], base, cpu=not torch.cuda.is_available())
        publish(list(measure(arguments.models, arguments.samples, arguments.cfg, host.models)), arguments.json)


if __name__ == "__main__":
    main()
