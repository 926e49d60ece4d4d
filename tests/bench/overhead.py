"""What the pack itself costs: how close a cached run comes to the speed-up that its evaluation count promises.

Uncached and cached runs alternate in one process; a cached run is compared with the mean of the uncached ones before
and after it, and the median of these pairs is the figure. Times are taken around the host's ``sample``, not from the
pack's report.

Figures, for every model, mechanism, cache_point and k of ``STEPS``:
    speedup_over_ideal: measured speed-up over N/k (over N / (k + (N - k) c) for DiCache, whose probe is charged as c);
        at least 0.93 for Taylor.
    cached_over_computed: seconds of a cached evaluation over those of a computed one; at most 0.02 at ``blocks``.
    speedup, computed: the speed-up itself, and the seconds of a computed evaluation.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from recache.policies.uniform import uniform
from tests.bench.figures import Figure, publish
from tests.bench.sampling import Setup, Timing, host, load, report, sample
from tests.tiny.families import Family

STEPS = 50
TAYLOR = [Setup("taylor", point, k) for point in ("blocks", "output") for k in (5, 10, 25)]
OTHERS = [
    *(Setup(mechanism, point, 10) for mechanism in ("reuse", "residual", "hermite") for point in ("blocks", "output")),
    Setup("dicache", "blocks", 10),
]


@dataclass
class Pairs:
    """What the runs of one set-up gave."""

    speedups: list[float] = field(default_factory=list)
    cached: list[float] = field(default_factory=list)
    computed: list[float] = field(default_factory=list)
    cached_cost: float = 0.0

    def add(self, setup: Setup, before: Timing, run: Timing, after: Timing, cached_cost: float) -> None:
        self.speedups.append((before.seconds + after.seconds) / 2 / run.seconds)
        for is_computed, seconds in zip(uniform(STEPS, setup.k).computed[1:], run.evaluations):
            (self.computed if is_computed else self.cached).append(seconds)
        self.cached_cost = cached_cost if setup.mechanism == "dicache" else 0.0


def measure(model: Any, family: Family, setups: list[Setup], repeats: int) -> Iterator[Figure]:
    """The figures of every set-up on one MODEL."""
    pairs = {setup: Pairs() for setup in setups}
    sample(model, family, 2)  # the first run pays for what is made once
    before = sample(model, family, STEPS)
    for _ in range(repeats):
        for setup in setups:
            cached = setup.on(model)
            run = sample(cached, family, STEPS)
            after = sample(model, family, STEPS)
            pairs[setup].add(setup, before, run, after, report(cached).cached_cost)
            before = after
    for setup, of in pairs.items():
        cell = {"model": family.name, "mechanism": setup.mechanism, "cache_point": setup.cache_point, "k": setup.k}
        ideal = STEPS / (setup.k + (STEPS - setup.k) * of.cached_cost)
        yield Figure("speedup_over_ideal", median(of.speedups) / ideal, "1", cell)
        yield Figure("cached_over_computed", median(of.cached) / median(of.computed), "1", cell)
        yield Figure("speedup", median(of.speedups), "1", cell)
        yield Figure("computed", median(of.computed), "s", cell)


def main() -> None:
    parser = argparse.ArgumentParser(prog="overhead", description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--model", choices=["flux", "wan"], help="this one only (default: both)")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of runs (default: 3)")
    parser.add_argument("--k", type=int, nargs="+", default=[5, 10, 25], help="computed evaluations of 50")
    parser.add_argument("--all", action="store_true", help="the other mechanisms too, at k = 10")
    options = parser.parse_args()
    with host():
        from tests.tiny.big import BIG

        setups = [setup for setup in TAYLOR if setup.k in options.k] + OTHERS * options.all
        figures = []
        for name in [options.model] if options.model else BIG:
            figures += measure(load(BIG[name]), BIG[name], setups, options.repeats)
        publish(figures, options.json)


if __name__ == "__main__":
    main()
