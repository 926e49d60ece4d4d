"""A policy that was learned at 50 steps, carried over to fewer: against the default schedule and fewer uncached steps.

Figures of a cell: the geometric mean over samples of the latent's squared error over that of the default schedule and
mechanism, of the shipped policy for taylor 1 and of fewer steps, with the bounds of its 95% interval. Below 1 is better
than the default.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.bench.few_steps import Runs, default, log_ratio, ratio_figures
from tests.bench.figures import Figure, publish
from tests.bench.sampling import host

BUDGETS = {8: (3, 4, 6), 12: (4, 6, 8), 20: (4, 6, 10, 14), 30: (5, 8, 15, 20), 50: (7, 9, 13, 20, 30)}
TAYLOR = ("taylor", 1)


def measure(demo, n: int, samples: int) -> Iterator[Figure]:
    """The figures of one number of steps."""
    from recache.nodes.library.folders import SHIPPED
    from recache.policies.defaults import default_mechanism
    from recache.policies.policy_file import load

    policy = load(f"demo-{demo.name}-taylor1.safetensors", SHIPPED).policy
    runs = Runs(demo, demo.samples(samples), n)
    times = runs.workflow.dry_run().times
    for k in BUDGETS[n]:
        by_default = runs.error(runs.cached(default(n, k), default_mechanism(n, k)))
        carried = policy.schedule(k, times).indices
        others = {"carried": runs.cached(carried, TAYLOR), "fewer steps": runs.fewer(k, demo.sampler)}
        for name, latents in others.items():
            cell = {"model": demo.name, "n": n, "k": k, "instead of the default": name,
                    "computed": carried if name == "carried" else "-"}
            yield from ratio_figures(("ratio", "low", "high"), log_ratio(runs.error(latents), by_default), cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--samples", type=int, default=16, help="prompt-seed pairs")
    parser.add_argument("--n", type=int, nargs="+", default=list(BUDGETS), help="steps")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        from tests.bench import demo_models

        publish((figure for name in options.models for n in options.n
                 for figure in measure(demo_models.load(name, comfy.models), n, options.samples)), options.json)


if __name__ == "__main__":
    main()
