"""What an evaluation asks of a GPU, counted on a CPU: operations that start a kernel, and the bytes that they move.

On a GPU an operation costs its launch, some microseconds of Python and driver, and the bytes that it reads and
writes; a cached evaluation has little of either, so what is left of it decides how near the speed-up comes to N/k.
Views start nothing and are not counted. The network has FLUX.1's 19 + 38 blocks and little of its width, so
operations are as many as there.

Figures, for every mechanism, order and cache point, and for every kind of evaluation: ``launches`` and
``latents_moved``, the bytes over those of the latent; medians over the evaluations of a run, the sampler's own
operations included. "uncached" is an evaluation without the pack, and "uncached, without the blocks" what the network
does outside of its blocks, which a cached evaluation at ``blocks`` can't save.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recache.policies.uniform import uniform
from tests.bench.figures import Figure, publish
from tests.bench.sampling import Setup, host, load, report
from tests.tiny.families import FAMILIES, Family

STEPS, K = 8, 3
BLOCKS = 19, 38
SETUPS = [Setup(mechanism, point, K, order)
          for mechanism, order in (("reuse", 1), ("taylor", 1), ("taylor", 2), ("hermite", 1), ("meancache", 1))
          for point in ("output", "blocks")] + [Setup("dicache", "blocks", K)]


class Launches(TorchDispatchMode):
    """While entered, counts operations and bytes.

    Attributes:
        total: (operations that start a kernel, bytes that they read and write) so far.
    """

    def __init__(self):
        super().__init__()
        self.total = (0, 0)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if torch.is_tensor(leaf)]
            moved = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
            self.total = self.total[0] + 1, self.total[1] + moved
        return out


def flux_of(double: int, single: int) -> Family:
    """FLUX of little width with so many blocks."""
    flux = FAMILIES["flux"]
    return replace(flux, name=f"flux_{double}_{single}", latent_shape=(16, 32, 32), blocks=double + single,
                   unet_config={**flux.unet_config, "depth": double, "depth_single_blocks": single})


def evaluations(model: Any, family: Family) -> list[tuple[int, int]]:
    """(launches, bytes) of evaluations 1, 2, ... of a run."""
    import comfy.sample

    positive, negative = family.conditioning()
    latent = family.latent()["samples"]
    totals = []
    with torch.inference_mode(), Launches() as launches:
        comfy.sample.sample(
            model, comfy.sample.prepare_noise(latent, 0), STEPS, 1.0, "euler", "simple", positive, negative, latent,
            callback=lambda *_: totals.append(launches.total), disable_pbar=True, seed=0)
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(totals)]


def figures(kind: str, found: list[tuple[int, int]], family: Family, setup: Setup | None) -> Iterator[Figure]:
    cell = {"model": family.name, "evaluation": kind, "mechanism": "-", "order": 0, "cache_point": "-"}
    if setup is not None:
        cell |= {"mechanism": setup.mechanism, "order": setup.order, "cache_point": setup.cache_point}
    latent = family.latent()["samples"]
    yield Figure("launches", median(launches for launches, _ in found), "1", cell)
    moved = median(moved for _, moved in found)
    yield Figure("latents_moved", moved / (latent.numel() * latent.element_size()), "1", cell)


def outside_blocks() -> list[tuple[int, int]]:
    """Of evaluations of the network without its blocks: what two and four blocks have in common."""
    two, four = (evaluations(load(family), family) for family in (flux_of(1, 1), flux_of(2, 2)))
    return [(2 * a[0] - b[0], 2 * a[1] - b[1]) for a, b in zip(two, four, strict=True)]


def measure() -> Iterator[Figure]:
    family = flux_of(*BLOCKS)
    model = load(family)
    yield from figures("uncached", evaluations(model, family), family, None)
    yield from figures("uncached, without the blocks", outside_blocks(), family, None)
    for setup in SETUPS:
        cached = setup.on(model)
        found = evaluations(cached, family)
        report(cached)
        computed = uniform(STEPS, K).computed[1:]
        for kind, wanted in (("computed", True), ("cached", False)):
            yield from figures(kind, [one for one, is_computed in zip(found, computed, strict=True)
                                      if is_computed == wanted], family, setup)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    with host():
        publish(measure(), options.json)


if __name__ == "__main__":
    main()
