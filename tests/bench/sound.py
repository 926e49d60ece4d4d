"""Sound beside picture: how far each stream of an audio-video latent is from the uncached run's, under one budget.

The models are the tiny ones with random weights, so there is no waveform to listen to: figures are of the latents.
``relative_error``: length of the difference over the length of the uncached stream, mean of the samples; ``level``: the
cached stream's over the uncached one's root mean square; ``of_picture``: the sound's relative error over the picture's.
Beside them stands what an artist would do instead: as many steps as the budget computes.

Schedule and mechanism are the ReCache node's own without a policy. The same number is computed at both cache points,
though a cached evaluation at `blocks` is not free: of so small a network it costs a tenth and more.
The samplers, steps and guidance are those of ComfyUI's own templates for 20 steps.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from tempfile import TemporaryDirectory
from typing import Any

from tests.bench.families import streams
from tests.bench.figures import Figure, publish
from tests.hosting import session
from tests.tiny.families import FAMILIES

STEPS = 20
BUDGETS = (0.5, 0.3)
STREAMS = ("picture", "sound")
SAMPLING = {
    "minimax_h3": {"sampler": "res_multistep", "cfg": 1.0},
    "ltxav": {"sampler": "euler", "cfg": 4.0},
    "ltxav23": {"sampler": "euler", "cfg": 4.0},
}
POINTS = ("output", "blocks")


def sampled(name: str, seed: int, config: Any, steps: int = STEPS) -> tuple[list, Any]:
    """The streams that a run makes, and the report on it."""
    from tests.sampling import run

    prompts = FAMILIES[name].conditioning(seed)
    trace = run(name, config, steps=steps, seed=seed, scheduler="simple", prompts=prompts, **SAMPLING[name])
    return streams(trace.samples), trace.report


def compared(whole: list, made: list) -> list[tuple[float, float]]:
    """(relative error, level) of every stream."""
    return [(float((one - own).norm() / own.norm()), float(one.norm() / own.norm()))
            for own, one in zip(whole, made, strict=True)]


def ways(k: int, multistep: bool) -> Iterator[tuple[str, str, Any, int]]:
    """(mechanism, cache point, settings, steps) of runs that compute `k` evaluations."""
    from recache.policies.defaults import default_mechanism, default_schedule
    from tests.sampling import settings

    mechanism, order = default_mechanism(STEPS, k, multistep)
    computed = {i for i, own in enumerate(default_schedule(STEPS, k, multistep).computed) if own}
    for point in POINTS:
        yield mechanism, point, settings(computed=computed, mechanism=mechanism, order=order, cache_point=point), STEPS
    for point in POINTS:
        yield "reuse", point, settings(computed=computed, mechanism="reuse", cache_point=point), STEPS
    yield "fewer steps", "-", None, k


def measure(names: list[str], samples: int) -> Iterator[Figure]:
    """The figures of every model, budget and way."""
    for name in names:
        whole = [sampled(name, seed, None)[0] for seed in range(samples)]
        for budget in BUDGETS:
            k = round(budget * STEPS)
            for mechanism, point, config, steps in ways(k, SAMPLING[name]["sampler"] == "res_multistep"):
                made = [sampled(name, seed, config, steps) for seed in range(samples)]
                for _, report in made:
                    if report is not None and (report.cache_point != point or len(report.computed) != k):
                        raise RuntimeError(f"{name} at {point}: {report.cache_point_reason}, {report.computed}")
                cell = {"model": FAMILIES[name].title, "budget": budget, "computed": k, "mechanism": mechanism,
                        "cache_point": point}
                yield from stated([compared(own, one[0]) for own, one in zip(whole, made)], cell)


def stated(pairs: list[list[tuple[float, float]]], cell: dict[str, Any]) -> Iterator[Figure]:
    """The figures of one cell, from (relative error, level) of the streams of every sample."""
    errors = [sum(pair[i][0] for pair in pairs) / len(pairs) for i in range(len(STREAMS))]
    for i, stream in enumerate(STREAMS):
        yield Figure(f"{stream}_relative_error", errors[i], "1", cell)
    yield Figure("of_picture", errors[1] / errors[0], "1", cell)
    yield Figure("sound_level", sum(pair[1][1] for pair in pairs) / len(pairs), "1", cell)


def main() -> None:
    """Measures with a host of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=SAMPLING, default=list(SAMPLING))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--json")
    args = parser.parse_args()
    with TemporaryDirectory(prefix="comfyui-") as base:
        session.start(os.environ["COMFYUI_PATH"], base)
        publish(measure(args.models, args.samples), args.json)


if __name__ == "__main__":
    main()
