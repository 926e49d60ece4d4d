"""How what ReCache takes grows: with evaluations, with the size of the latent, with samples.

Every curve is measured at some values of one variable and fitted by a power law over the larger half of them; its
exponent says what doubling does: 1 doubles, 2 quadruples, 0 changes nothing. Figures, in their cells the variable and
its value, and ``exponent`` for every curve:
    dry_run, schedule: processor seconds of the dry run (Euler) and of a policy's schedule of 9 evaluations, carried
        from 40, the median of some.
    cache: bytes that the cache holds at most, taylor 1, against the elements of the latent; and of a clip's.
    search: processor seconds that the learner itself takes for every 1,000 network evaluations, whose own time is not
        counted (costs come from a formula).
    uncached: network evaluations that a training takes before it learns, against the samples.
``--picture`` draws them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recache.policies.learning.environment import Environment
from tests.bench.figures import Figure, publish
from tests.bench.sampling import Setup, host, load, report, sample

STEPS = (10, 20, 50, 100, 200, 500, 1000)
SEARCHED_STEPS = (10, 20, 50, 100, 200)
SIDES, FRAMES = (16, 24, 32, 48), (1, 3, 5, 9)
REPEATS = 5
EVALUATIONS = 2000  # of the search
SAMPLES, HELD_OUT = (1, 2, 4, 8, 16), 4


def seconds(run: Callable[[], Any]) -> float:
    """The median of some, in processor time, which other programs don't lengthen."""
    taken = []
    for _ in range(REPEATS):
        started = time.thread_time()
        run()
        taken.append(time.thread_time() - started)
    return statistics.median(taken)


def exponent(curve: dict[int, float]) -> float:
    """Of the power law through the larger half of a curve."""
    points = sorted(curve.items())[len(curve) // 2 - 1:]
    return float(np.polyfit(*np.log(points).T, 1)[0])


def figures(name: str, unit: str, variable: str, curve: dict[int, float]) -> Iterator[Figure]:
    for value, measured in curve.items():
        yield Figure(name, measured, unit, {"curve": name, "variable": variable, "value": value})
    yield Figure("exponent", exponent(curve), "1", {"curve": name, "variable": variable})


def planning(model: Any, family: Any) -> Iterator[Figure]:
    from recache.caching.sampler_nodes import ksampler
    from recache.policies.policy import from_schedules
    from recache.policies.schedule import Schedule
    from recache.policies.uniform import uniform

    def workflow_of(n: int):
        return ksampler(model, [family.conditioning()], n, 1.0, "euler", "simple", 1.0, family.latent(), 0)

    times = workflow_of(40).dry_run().times
    policy = from_schedules({k: Schedule(uniform(40, k).computed, times) for k in (7, 9, 13, 20)})
    dry_run, schedule = {}, {}
    for n in STEPS:
        workflow = workflow_of(n)
        dry_run[n] = seconds(workflow.dry_run)
        schedule[n] = seconds(partial(policy.schedule, 9, workflow.dry_run().times))
    yield from figures("dry_run", "s", "n", dry_run)
    yield from figures("schedule", "s", "n", schedule)


def cache(family: Any, variable: str, shapes: Sequence[tuple[int, ...]]) -> Iterator[Figure]:
    model = load(family)
    for point in ("output", "blocks"):
        held = {}
        for shape in shapes:
            cached = Setup("taylor", point, 3).on(model)
            sample(cached, replace(family, latent_shape=shape), 6)
            held[int(np.prod(shape))] = report(cached).peak_cache_bytes
        yield from figures(f"cache of {variable}, {point}", "bytes", "elements of the latent", held)


class Formula(Environment):
    """An Environment without a network: every cached evaluation costs what its distance and its time say."""

    def __init__(self, n: int, samples: int):
        rng = np.random.default_rng(0)
        self.n, self.samples = n, samples
        self.weights = rng.random((samples, n)) * np.linspace(2.0, 0.5, n)

    def cost(self, schedule, sample: int) -> float:
        computed = np.flatnonzero(schedule.computed)
        last = computed[np.searchsorted(computed, np.arange(self.n), side="right") - 1]
        return float((self.weights[sample] * (np.arange(self.n) - last) ** 2).sum()) / self.n**2


def search() -> Iterator[Figure]:
    from recache.policies.learning.environment import Memo
    from recache.policies.learning.search import LearnConfig, learn
    from recache.policies.uniform import uniform

    taken = {}
    for n in SEARCHED_STEPS:
        memo, held_out = Memo(Formula(n, 8)), Memo(Formula(n, HELD_OUT))
        ks = [max(2, n * share // 100) for share in (15, 25, 40)]
        started = time.thread_time()
        learn(memo, held_out, {"uniform": {k: uniform(n, k) for k in ks}}, LearnConfig(evaluations=EVALUATIONS))
        taken[n] = (time.thread_time() - started) / memo.evaluations * 1000
    yield from figures("search", "s", "n", taken)


def uncached() -> Iterator[Figure]:
    from recache.nodes.training.request import noises

    n = 50
    counts = {prompts: n * (prompts + noises(prompts, 1, quick=False)[1]) for prompts in SAMPLES}
    yield from figures("uncached", "1", "samples", counts)


def draw(found: Sequence[Figure], path: Path) -> None:
    """Every curve, relative to its first value, over its variable relative to its first value."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    from tests.bench.frontier import BACKGROUND, GRID, TEXT

    curves: dict[str, dict[int, float]] = {}
    for figure in found:
        if figure.name != "exponent":
            curves.setdefault(figure.name, {})[figure.cell["value"]] = figure.value
    picture, axes = pyplot.subplots(figsize=(9, 5), layout="constrained", facecolor=BACKGROUND)
    axes.set_facecolor(BACKGROUND)
    for name, curve in curves.items():
        values, measured = zip(*sorted(curve.items()))
        axes.plot(np.array(values) / values[0], np.array(measured) / measured[0], marker="o", markersize=4,
                  label=f"{name}: exponent {exponent(curve):.2f}")
    axes.set(xscale="log", yscale="log", xlabel="the variable, over its smallest value", ylabel="over the first value")
    axes.grid(color=GRID)
    for text in (axes.xaxis.label, axes.yaxis.label):
        text.set_color(TEXT)
    axes.tick_params(which="both", colors=TEXT)
    picture.legend(loc="outside right upper", frameon=False, labelcolor=TEXT)
    picture.savefig(path, dpi=100)
    pyplot.close(picture)


def measure() -> Iterator[Figure]:
    from tests.tiny.families import FAMILIES

    flux, wan = FAMILIES["flux"], FAMILIES["wan21_t2v"]
    yield from planning(load(flux), flux)
    yield from cache(flux, "a picture", [(16, side, side) for side in SIDES])
    yield from cache(wan, "a clip", [(16, frames, 16, 16) for frames in FRAMES])
    yield from search()
    yield from uncached()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--picture", type=Path, help="draw the curves into this file")
    options = parser.parse_args()
    with host():
        found = list(measure())
        publish(found, options.json)
        if options.picture:
            draw(found, options.picture)


if __name__ == "__main__":
    main()
