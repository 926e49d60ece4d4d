"""How the schedules of the shipped policies spend their evaluations: those of real models, published by others, beside
the demo models', learned here.

Figures of a policy at its k: ``half_by``, the part of the run by which half of the computed evaluations are done
(evenly spread: 0.5 less half a distance); ``longest_gap``, cached evaluations in a row, as a multiple of the even
distance; ``first_gap``, the evaluations before the first cached one; ``computes_last``, 1 if the last one is computed.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from tests.bench.figures import Figure, publish
from tests.hosting import session


def shape(indices: tuple[int, ...], n: int) -> dict[str, float]:
    """The figures of a schedule."""
    k, ends = len(indices), (*indices, n)
    gaps = [b - a - 1 for a, b in pairwise(ends)]
    return {"half_by": indices[(k - 1) // 2] / n, "longest_gap": max(gaps) * k / n,
            "first_gap": next((i + 1 for i, gap in enumerate(gaps) if gap), k),
            "computes_last": float(indices[-1] == n - 1)}


def measure(ks: list[int]) -> Iterator[Figure]:
    from recache.nodes.library.folders import SHIPPED
    from recache.policies.policy_file import SUFFIX, load

    for path in sorted(SHIPPED.glob(f"*{SUFFIX}")):
        file = load(path, SHIPPED)
        n = file.policy.n
        for k in (k for k in ks if k in file.policy.budgets):
            schedule = file.policy.schedule(k)
            for name, value in shape(schedule.indices, n).items():
                yield Figure(name, value, "1", {"policy": file.about.name, "k": k, "n": n})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--k", type=int, nargs="+", default=[9, 13], help="only these (default: 9 13)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        publish(measure(options.k), options.json)


if __name__ == "__main__":
    main()
