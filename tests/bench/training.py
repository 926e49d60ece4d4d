"""What learning a policy takes and gives: learned against annealing and the dynamic program, on a trained demo model.

All learn from the same samples by the same distance, and are compared by ST-LPIPS on prompt-seed pairs that none has
seen. Figures, for every model, method and k: ``evaluations`` of the network (for all k together: the uncached runs,
the rollouts, and for "learned" the held-out ones that it chooses by), ``seconds``, ``st_lpips`` and half of its 95%
interval, ``over_uniform``, the ratio of ST-LPIPS to the uniform schedule's, and ``less_than_uniform``, the mean
difference to it over the pairs, with half of its 95% interval.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from tests.bench.figures import Figure, publish
from tests.hosting import session

TRAINING, HELD_OUT = 500, 600  # numbers of the first training and held-out pair; the test's begin at 0
JUDGE_NAMES = {"latent": "latent RMSE", "st-lpips": "root of ST-LPIPS"}
METHODS = ("uniform", "default", "dp", "annealing", "learned")


def evaluations_of(demo, steps: int):
    """The evaluations of a run of the demo model."""
    import comfy.samplers

    from recache.caching.dry_run import dry_run

    sigmas = comfy.samplers.KSampler(
        demo.model, steps, torch.device("cpu"), demo.sampler, demo.scheduler, model_options={}).sigmas
    guider = comfy.samplers.CFGGuider(demo.model)
    return dry_run(comfy.samplers.sampler_object(demo.sampler), sigmas, guider, (1, *demo.latent))


def learn_all(demo, options, mechanism: tuple[str, int]) -> tuple[dict, dict, object]:
    """{method: {k: schedule}}, {method: (evaluations, seconds)}, and the learner's result."""
    from recache.caching import mechanisms
    from recache.caching.feature_kind import feature_kind
    from recache.nodes.training.mechanism_race import tried_schedules
    from recache.nodes.training.starts import find_starts
    from recache.policies.learning.environment import Memo
    from recache.policies.learning.search import LearnConfig, learn
    from tests.bench.annealing import AnnealingConfig, anneal, random_start
    from tests.bench.environment import JUDGES, DemoRollouts, record

    made = mechanisms.make(*mechanism, levels=evaluations_of(demo, options.steps).levels)
    arguments = options.steps, mechanism, options.point
    started = time.monotonic()
    rollouts = DemoRollouts(demo, demo.samples(options.samples, TRAINING), *arguments, JUDGES[options.distance])
    uncached = options.samples * options.steps
    references = time.monotonic() - started
    started = time.monotonic()
    plan = evaluations_of(demo, options.steps)
    kind = feature_kind(plan, made, options.point)
    gram = record(demo, demo.samples(options.samples, TRAINING), options.steps, kind)
    memo = Memo(rollouts)
    found = find_starts(options.k, plan, gram, kind, made, memo)
    taken = time.monotonic() - started
    program = {k: tried[-1] for k, tried in tried_schedules(options.k, plan, gram, kind, made).items()}
    chosen = {"uniform": found["uniform"], "default": found["default"], "dp": program}
    costs, result = {"uniform": (0, 0.0), "default": (0, 0.0)}, None
    costs["dp"] = uncached, taken
    if "learned" in options.methods:
        chosen_by = JUDGES[options.choose or options.distance]
        held_out = Memo(DemoRollouts(demo, demo.samples(options.held_out, HELD_OUT), *arguments, chosen_by))
        config = LearnConfig(evaluations=options.evaluations, seed=options.seed)
        result = learn(memo, held_out, found, config, on_rollout=_progress())
        chosen["learned"] = result.schedules
        costs["learned"] = (
            uncached + held_out.samples * options.steps + memo.evaluations + held_out.evaluations,
            time.monotonic() - started + references)
    if "annealing" in options.methods:
        started = time.monotonic()
        memo = Memo(rollouts)
        rng, chosen["annealing"] = random.Random(options.seed), {}
        for k in options.k:
            start = replace(random_start(options.steps, k, rng), times=plan.times)
            chosen["annealing"][k] = anneal(memo.mean_cost, start, AnnealingConfig(), rng)
            print(f"annealing k={k}: {memo.evaluations} evaluations so far", file=sys.stderr, flush=True)
        costs["annealing"] = uncached + memo.evaluations, time.monotonic() - started
    return chosen, costs, result


def _progress():
    from recache.policies.learning.elites import mean_gain

    last = [time.monotonic()]

    def progress(evaluations: int, gains: dict[int, float]) -> None:
        if time.monotonic() - last[0] > 30:
            last[0] = time.monotonic()
            print(f"learned: {evaluations} evaluations, gain {mean_gain(gains):.3f}", file=sys.stderr, flush=True)

    return progress


def measure(name: str, options, models_dir: Path) -> Iterator[Figure]:
    from tests.bench import demo_models
    from tests.bench.environment import DemoRollouts, picture_distance

    def score(schedule) -> torch.Tensor:
        with torch.inference_mode():
            return picture_distance(test, test.latents(schedule))

    mechanism = (options.mechanism, options.order)
    demo = demo_models.load(name, models_dir)
    chosen, costs, result = learn_all(demo, options, mechanism)
    if options.policies and result is not None:
        save_policy(demo, options, mechanism, result, costs["learned"])
    test = DemoRollouts(demo, demo.samples(options.test), options.steps, mechanism, options.point, picture_distance)
    for k in options.k:
        even = score(chosen["uniform"][k])
        for method in (m for m in METHODS if m in chosen and m in options.methods):
            schedule = chosen[method][k]
            found = even if method == "uniform" else score(schedule)
            cell = {"model": name, "mechanism": options.mechanism, "order": options.order, "method": method, "k": k,
                    "n": options.steps}
            print(f"{cell}: {float(found.mean()):.5f} [{schedule}]", file=sys.stderr, flush=True)
            yield Figure("st_lpips", float(found.mean()), "1", cell)
            yield Figure("st_lpips_ci95", float(1.96 * found.std() / len(found) ** 0.5), "1", cell)
            yield Figure("over_uniform", float(found.mean() / even.mean()), "1", cell)
            yield Figure("less_than_uniform", float((even - found).mean()), "1", cell)
            yield Figure("less_than_uniform_ci95", float(1.96 * (even - found).std() / len(found) ** 0.5), "1", cell)
            yield Figure("evaluations", costs[method][0], "1", cell)
            yield Figure("seconds", costs[method][1], "s", cell)


def save_policy(demo, options, mechanism: tuple[str, int], result, cost: tuple[int, float]) -> None:
    """Write what was learned as a policy of the pack."""
    from recache.caching import model_identity
    from recache.nodes.library.version import VERSION
    from recache.policies.policy import from_schedules
    from recache.policies.policy_file import About, PolicyFile, save

    title = f"demo-{demo.name}-{mechanism[0]}" + (f"{mechanism[1]}" if mechanism[0] in ("taylor", "hermite") else "")
    about = About(
        name=title, pack_version=VERSION, model_family=model_identity.family(demo.model),
        model_identity={"layout": model_identity.layout(demo.model.model.diffusion_model)}, mechanism=mechanism[0],
        mechanism_options={"order": mechanism[1]} if mechanism[0] in ("taylor", "hermite") else {},
        cache_point=options.point,
        sampler=demo.sampler, scheduler=demo.scheduler, steps=options.steps, cfg=demo.cfg,
        size=model_identity.size_of(demo.model, (1, *demo.latent)), shift=model_identity.shift_of(demo.model),
        reward=JUDGE_NAMES[options.choose or options.distance],
        training={"learned by": JUDGE_NAMES[options.distance], "samples": options.samples,
                  "held-out samples": options.held_out, "evaluations": cost[0], "seconds": round(cost[1], 1)},
        notes="Trained on the demo model of the pack's tests.")
    save(Path(options.policies) / f"{title}.safetensors",
         PolicyFile(from_schedules(result.schedules, result.policy), about, result.validation))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--mechanism", default="taylor")
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--point", default="output", help="cache point: output or blocks")
    parser.add_argument("--distance", choices=JUDGE_NAMES, default="latent", help="what is learned and chosen by")
    parser.add_argument("--choose", choices=JUDGE_NAMES, help="what is chosen by on held-out samples")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--k", type=int, nargs="+", default=[7, 9, 13])
    parser.add_argument("--samples", type=int, default=4, help="training samples (default: 4)")
    parser.add_argument("--held-out", type=int, help="held-out samples (default: as many)")
    parser.add_argument("--test", type=int, default=64, help="prompt-seed pairs to compare on (default: 64)")
    parser.add_argument("--evaluations", type=int, default=12_000, help="that the learner may take (default: 12000)")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="only these (annealing takes longest)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policies", help="write the learned policies to this folder")
    options = parser.parse_args()
    options.held_out = options.held_out or options.samples
    with tempfile.TemporaryDirectory() as base:
        host = session.start(os.environ["COMFYUI_PATH"], base)
        publish([figure for name in options.models for figure in measure(name, options, host.models)], options.json)


if __name__ == "__main__":
    main()
