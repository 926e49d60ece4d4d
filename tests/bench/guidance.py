"""How much of its trend guidance should follow: rules for it, by the error of the default's latents over fewer steps'.

Guidance is the difference between the positive and the negative prediction; x is (cfg - 1) times the reach of a
forecast as a share of the run (see caching.guidance.guidance_trend). Every rule is a ramp: the whole trend up to
one x, none from another on. Figures of a cell: ``latent_ratio``, the geometric mean over samples of the squared error
of the default schedule and mechanism over that of k uncached steps; below 1 is better. The samples are none that other
benchmarks measure on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from itertools import product
from math import inf
from pathlib import Path
from unittest import mock

import torch

from tests.bench.few_steps import Runs, default, log_ratio
from tests.bench.figures import Figure, publish
from tests.bench.sampling import host

RAMPS = ((inf, inf), (0.0, 0.75), (0.2, 0.6), (0.3, 0.6), (0.4, 0.6), (0.3, 0.8), (0.3, 0.9))
FIRST = 3000  # sample


def ramp(whole: float, none: float) -> Callable[[float | None, float], float]:
    """A guidance_trend that is 1 up to x = `whole`, and 0 from `none` on; always 1 where that is never."""
    def trend(cfg: float | None, span: float) -> float:
        return 1.0 if none == inf else min(1.0, max(0.0, (none - (cfg - 1.0) * span) / (none - whole)))
    return trend


def measure(demo, n: int, ks: list[int], options) -> Iterator[Figure]:
    from recache.caching import guidance
    from recache.policies.defaults import default_mechanism

    runs = Runs(demo, demo.samples(options.samples, FIRST), n)
    for k in ks:
        fewer = runs.error(runs.fewer(k, demo.sampler))
        for point, (whole, none) in product(options.cache_points, RAMPS):
            for cache in runs.caches:
                cache.clear()  # its outputs depend on the rule
            with mock.patch.object(guidance, "guidance_trend", ramp(whole, none)):
                error = runs.error(runs.cached(default(n, k), default_mechanism(n, k), cache_point=point))
            rule = "each prediction by itself" if none == inf else f"{whole} to {none}"
            yield Figure("latent_ratio", float(log_ratio(error, fewer).mean().exp()), "1", {
                "model": demo.name, "cfg": demo.cfg, "n": n, "k": k, "rule": rule, "cache_point": point})


def measure_all(options, models: Path) -> Iterator[Figure]:
    from tests.bench import demo_models

    for name in options.models:
        demo = demo_models.load(name, models)
        for demo.cfg in options.cfg:
            for n in options.n:
                yield from measure(demo, n, [k for k in options.k if 2 < k < n], options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--cfg", type=float, nargs="+", default=[2.0, 4.0])
    parser.add_argument("--n", type=int, nargs="+", default=[8, 20, 50], help="steps")
    parser.add_argument("--k", type=int, nargs="+", default=[4, 6, 10, 14], help="computed evaluations")
    parser.add_argument("--cache-points", nargs="+", default=["output"], choices=["output", "blocks"])
    parser.add_argument("--samples", type=int, default=16, help="prompt-seed pairs")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        publish(measure_all(options, comfy.models), options.json)


if __name__ == "__main__":
    main()
