"""Whether ReCache's words on quality hold: "same", "details", "another", "broken" (policies.expected_quality).

On prompts and seeds that the words were not fitted to, runs of the node's own choice are compared with their uncached
ones. A word holds for a picture whose ST-LPIPS is at most the word's threshold.

Figures of a cell: ``holds``, the share of pictures for which the word holds; ``milder``, the share for which the next
better word would have held too (in most cells of nine in ten, the word is too careful); ``st_lpips_q90``. The cell
"all" has the share over all pictures of a word.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.bench.few_steps import Pictures, Runs, parse_mechanism
from tests.bench.figures import Figure, publish
from tests.bench.sampling import host

BUDGETS = {4: (1, 2, 3), 6: (2, 3, 4, 5), 8: (1, 2, 3, 4, 5, 6, 7), 12: (3, 5, 7, 9, 11),
           20: (1, 2, 4, 5, 6, 8, 10, 13, 16), 25: (3, 6, 9, 12), 50: (4, 6, 8, 10, 15, 25)}
FIRST = 20_000  # sample


def measure(demo, n: int, mechanism: tuple[str, int], options) -> Iterator[tuple[str, torch.Tensor, dict]]:
    """(word, distances [samples], cell) of every k."""
    from recache.nodes.library.choice import RunChoice

    runs = Runs(demo, demo.samples(options.samples, FIRST), n)
    pictures = Pictures(demo, runs.reference)
    times = runs.workflow.dry_run().times
    seen = {n}
    choices = [RunChoice(k / n, listed=listed, mechanism=mechanism[0], order=mechanism[1]) for k in BUDGETS[n]
               for listed in (lists(n, k, times, options.lists) if options.lists else [None])]
    for choice in choices:
        indices = [i for i, computed in enumerate(choice.schedule(times)) if computed]
        if choice.listed is None and len(indices) in seen:  # more is computed than the budget pays for
            continue
        seen.add(len(indices))
        distance = pictures.distance(runs.cached(indices, choice.mechanism_for(times)))
        word = choice.expected_word(times, len(indices))
        cell = {"model": demo.name, "n": n, "k": len(indices), "sampler": demo.sampler, "cfg": demo.cfg,
                "mechanism": "{} {}".format(*mechanism), "word": word}
        print(cell, f"{float(distance.quantile(0.9)):.4f}", file=sys.stderr, flush=True)
        yield word, distance, cell


def lists(n: int, k: int, times: tuple[float, ...], count: int) -> list[str]:
    """Up to `count` lists of k evaluations, as an artist could write, that are given a word."""
    from recache.nodes.library.choice import RunChoice

    rng, found = random.Random(f"{n} {k}"), set()
    for _ in range(20_000):
        listed = ", ".join(map(str, [0, *sorted(rng.sample(range(1, n), k - 1))]))
        if RunChoice(1.0, listed=listed, mechanism="auto").expected_word(times, k) is not None:
            found.add(listed)
        if len(found) == count:
            break
    return sorted(found)


def figures(found: list[tuple[str, torch.Tensor, dict]]) -> Iterator[Figure]:
    from recache.policies.expected_quality import THRESHOLDS, WORDS

    most = [*THRESHOLDS.values(), float("inf")]
    groups = [*found]
    for word in WORDS:
        alike = [distance for other, distance, _ in found if other == word]
        if alike:
            groups.append((word, torch.cat(alike), {"model": "all", "word": word}))
    for word, distance, cell in groups:
        place = WORDS.index(word)
        yield Figure("holds", float((distance <= most[place]).float().mean()), "1", cell)
        if place:
            yield Figure("milder", float((distance <= most[place - 1]).float().mean()), "1", cell)
        yield Figure("st_lpips_q90", float(distance.quantile(0.9)), "1", cell)


def measure_all(options, models: Path) -> Iterator[Figure]:
    from tests.bench import demo_models

    found = []
    for name in options.models:
        demo = demo_models.load(name, models)
        demo.cfg, demo.sampler = options.cfg or demo.cfg, options.sampler
        for n in options.n:
            for mechanism in options.mechanisms:
                found += measure(demo, n, mechanism, options)
    yield from figures(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "flux_8_steps", "wan"])
    parser.add_argument("--lists", type=int, default=0, help="measure so many random lists of evaluations of each k")
    parser.add_argument("--samples", type=int, default=24, help="prompt-seed pairs")
    parser.add_argument("--n", type=int, nargs="+", default=[4, 6, 8, 12, 20], choices=list(BUDGETS), help="steps")
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--cfg", type=float, help="instead of the model's own")
    parser.add_argument("--mechanisms", type=parse_mechanism, nargs="+", default=[("auto", 1)], help="like taylor2")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        publish(measure_all(options, comfy.models), options.json)


if __name__ == "__main__":
    main()
