"""What a cache takes: the peak of tensor memory in a cached run above the peak of the uncached one.

Measured on small models of the real architectures, in float32, where a *feature* is the tensor that the cache point has
for one cond: its image tokens at ``blocks``, its latent at ``output``. The network runs on all conds at once.

Figures:
    above_uncached: bytes above the uncached peak; in_features: the same in features of one cond, over the conds; bound:
        what it may be, the computed evaluations that the mechanism remembers (order + 1 for Taylor and Hermite), one
        working copy, and DiCache's three probes of an eighth of a feature each.
    full_size: bytes for one real model, from in_features and the size of its feature there; one_feature: that size.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch.profiler import ProfilerActivity, profile

from tests.bench.figures import Figure, publish
from tests.bench.sampling import Setup, host, load, report, sample
from tests.tiny.families import Family

STEPS, COMPUTED = 10, 5  # enough for four features to be remembered while the network runs
MECHANISMS = [
    ("reuse", 1), ("residual", 1), ("taylor", 1), ("taylor", 2), ("taylor", 3), ("hermite", 1), ("dicache", 1)]
WIDTH, HEADS = 256, 2


@dataclass(frozen=True)
class Case:
    """A small model to measure on, and the real one that its figures are carried to.

    Attributes:
        tokens: image tokens of the small model's latent.
        full_feature: elements of a bfloat16 feature of the real model at ``blocks``.
        full_latent: elements of its float32 latent.
    """

    family: Family
    tokens: int
    full_title: str
    full_feature: int
    full_latent: int


def cases() -> list[Case]:
    """FLUX and Wan; call where the host was started."""
    from tests.tiny.families import FAMILIES

    flux, wan = FAMILIES["flux"], FAMILIES["wan21_t2v"]
    flux_config = {**flux.unet_config, "hidden_size": WIDTH, "num_heads": HEADS}
    wan_config = {**wan.unet_config, "dim": WIDTH, "num_heads": HEADS, "ffn_dim": 4 * WIDTH}
    return [
        Case(replace(flux, latent_shape=(16, 48, 48), unet_config=flux_config),
             24 * 24, "FLUX.1, 1024x1024", 64 * 64 * 3072, 16 * 128 * 128),
        Case(replace(wan, latent_shape=(16, 3, 32, 32), unet_config=wan_config),
             3 * 16 * 16, "Wan 14B, 1280x720, 81 frames", 21 * 45 * 80 * 5120, 16 * 21 * 90 * 160),
    ]


def peak(run: Callable[[], object]) -> int:
    """The most bytes of CPU tensors alive at once while `run` runs, apart from those that were there before."""
    with TemporaryDirectory(prefix="recache-bench-") as folder:
        trace = Path(folder) / "trace.json"
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            run()
        profiler.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    allocations = sorted((event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]")
    taken = most = 0
    for _, count in allocations:
        taken += count
        most = max(most, taken)
    return most


def measure(case: Case, model: Any) -> Iterator[Figure]:
    """Every mechanism at both cache points, with one cond and with two."""
    for conds, cfg in ((1, 1.0), (2, 4.0)):
        uncached = peak(lambda cfg=cfg: sample(model, case.family, STEPS, cfg))
        for mechanism, order in MECHANISMS:
            for point in ("blocks", "output") if mechanism != "dicache" else ("blocks",):
                setup = Setup(mechanism, point, COMPUTED, order)
                cached = setup.on(model)
                above = peak(lambda cfg=cfg, cached=cached: sample(cached, case.family, STEPS, cfg)) - uncached
                report(cached)  # it was cached as it was set up
                yield from figures(case, setup, conds, above)


def figures(case: Case, setup: Setup, conds: int, above: int) -> Iterator[Figure]:
    """What `above` bytes say of this model and of the real one."""
    from recache.caching import mechanisms

    blocks = setup.cache_point == "blocks"
    feature = 4 * (case.tokens * WIDTH if blocks else prod(case.family.latent_shape))
    full_feature = 2 * case.full_feature if blocks else 4 * case.full_latent
    multiple = above / (feature * conds)
    kind = {"mechanism": setup.mechanism, "order": setup.order, "cache_point": setup.cache_point, "conds": conds}
    cell = {"model": case.family.name, **kind}
    yield Figure("above_uncached", above, "bytes", cell)
    yield Figure("in_features", multiple, "1", cell)
    mechanism = mechanisms.make(setup.mechanism, setup.order)
    yield Figure("bound", mechanism.depth + 1 + 0.375 * mechanism.probes, "1", cell)
    full_cell = {"real_model": case.full_title, **kind}
    yield Figure("full_size", round(multiple * full_feature * conds), "bytes", full_cell)
    yield Figure("one_feature", full_feature, "bytes", full_cell)


def main() -> None:
    parser = argparse.ArgumentParser(prog="memory", description=__doc__.splitlines()[0])
    parser.add_argument("--json", help="write the figures to this file")
    options = parser.parse_args()
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler talks at every start and stop
    with host():
        found = [figure for case in cases() for figure in measure(case, load(case.family))]
        publish(found, options.json)


if __name__ == "__main__":
    main()
