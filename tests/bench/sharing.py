"""What sharing prefixes saves a search: one search on a trained demo model, shared and whole, of the same questions.

Figures: ``asked``, the evaluations that all its schedules compute; ``evaluations`` that the network made;
``cpu_seconds``; ``gain``, the share of the uniform schedule's error that the search saved, the same for both.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Figure, publish
from tests.hosting import session


def search(demo, options, sharing: bool, evaluations: int) -> tuple[object, float, object]:
    """The Memo of a search that may take so many evaluations, its CPU seconds, and what it learned."""
    from recache.policies.learning.environment import Memo
    from recache.policies.learning.search import LearnConfig, learn
    from recache.policies.uniform import uniform
    from tests.bench.environment import DemoRollouts, latent_error

    environment = DemoRollouts(demo, demo.samples(options.samples, 500), options.steps,
                               (options.mechanism, options.order), options.point, latent_error, shares=sharing)
    memo, start = Memo(environment), {"uniform": {k: uniform(options.steps, k) for k in options.k}}
    started = time.process_time()
    learned = learn(memo, memo, start, LearnConfig(evaluations=evaluations, seed=options.seed))
    seconds = time.process_time() - started
    if sharing and environment.prefix_cache.recomputed:
        raise RuntimeError(f"{environment.prefix_cache.recomputed} answers were dropped and computed again")
    return memo, seconds, learned


def measure(name: str, options, models_dir: Path) -> Iterator[Figure]:
    from tests.bench import demo_models

    demo, allowed = demo_models.load(name, models_dir), options.evaluations
    for way in ("shared", "whole"):
        memo, seconds, learned = search(demo, options, way == "shared", allowed)
        allowed = memo.unshared  # as many questions for the second
        cell = {"model": name, "mechanism": options.mechanism, "cache_point": options.point, "rollouts": way}
        yield Figure("asked", memo.unshared, "1", cell)
        yield Figure("evaluations", memo.evaluations, "1", cell)
        yield Figure("cpu_seconds", seconds, "s", cell)
        yield Figure("gain", learned.curve[-1][1], "1", cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux"])
    parser.add_argument("--mechanism", default="taylor")
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--point", default="output")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--k", type=int, nargs="+", default=[7, 9, 13])
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--evaluations", type=int, default=3000, help="that the shared search may take")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        host = session.start(os.environ["COMFYUI_PATH"], base)
        publish([figure for name in options.models for figure in measure(name, options, host.models)], options.json)


if __name__ == "__main__":
    main()
