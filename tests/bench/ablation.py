"""What each part of the search is worth: the learner without one of them, on a trained demo model.

All variants learn from the same samples and starts with the same number of network evaluations. The costs of rollouts
are kept for all of them; what each variant asks for is counted as if nothing had been known. Figures, by the variant, k
and seed: ``over_uniform``, the ratio of ST-LPIPS on prompt-seed pairs that were not learned from to the uniform
schedule's, ``over_full``, its ratio to the full search's of the same seed, each with half of its 95% interval over the
pairs; ``latent_over_uniform``, the same ratio of latent errors; ``training_over_uniform``, of latent errors on the
training samples; and ``evaluations`` of the network that the search counted, for all k together.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from tests.bench.figures import Figure, publish
from tests.hosting import session

WITHOUT = {
    "REINFORCE": {"reinforce": {"updates": 0}},
    "far moves": {"radius": 1},
    "perturbations": {"perturbations": 0},
}
VARIANTS = {"full": {}} | {f"without {part}": change for part, change in WITHOUT.items()}


def ratio(of: torch.Tensor, to: torch.Tensor) -> tuple[float, float]:
    """mean(of) / mean(to) of paired values, and half of its 95% interval (delta method)."""
    found = float(of.mean() / to.mean())
    return found, 1.96 * float((of - found * to).std() / to.mean()) / len(of) ** 0.5


def search(demo, options) -> Iterator[tuple[str, int, object, object]]:
    """(variant, seed, what it learned, its Memo) for every variant and seed."""
    from recache.caching import mechanisms
    from recache.caching.feature_kind import feature_kind
    from recache.nodes.training.starts import find_starts
    from recache.policies.learning.environment import Memo
    from recache.policies.learning.reinforce import ReinforceConfig
    from recache.policies.learning.search import LearnConfig, learn
    from tests.bench.environment import DemoRollouts, latent_error, record
    from tests.bench.training import TRAINING, evaluations_of

    mechanism = options.mechanism, options.order
    plan, costs = evaluations_of(demo, options.steps), {}
    made = mechanisms.make(*mechanism, levels=plan.levels)
    samples = demo.samples(options.samples, TRAINING)
    rollouts = DemoRollouts(demo, samples, options.steps, mechanism, options.point, latent_error)
    kind = feature_kind(plan, made, options.point)

    def counted() -> Memo:
        return Memo(rollouts, costs, lambda computed, sample, cost: costs.update({(computed, sample): cost}))

    found = find_starts(options.k, plan, record(demo, samples, options.steps, kind), kind, made, counted())
    for seed in options.seeds:
        for variant, change in VARIANTS.items():
            started, known = time.monotonic(), len(costs)
            memo = counted()
            reinforce = ReinforceConfig(**change.get("reinforce", {}))
            config = LearnConfig(evaluations=options.evaluations, seed=seed, **change | {"reinforce": reinforce})
            learned = learn(memo, memo, found, config)
            print(f"{demo.name}, seed {seed}, {variant}: {memo.evaluations} evaluations, {len(costs) - known} new "
                  f"rollouts of {memo.rollouts}, {time.monotonic() - started:.0f} s, gain {learned.curve[-1][1]:.4f}",
                  file=sys.stderr, flush=True)
            yield variant, seed, learned, memo


def measure(name: str, options, models_dir: Path) -> Iterator[Figure]:
    from recache.policies.uniform import uniform
    from tests.bench import demo_models
    from tests.bench.environment import DemoRollouts, latent_error, picture_distance

    demo = demo_models.load(name, models_dir)
    test = DemoRollouts(demo, demo.samples(options.test), options.steps, (options.mechanism, options.order),
                        options.point, picture_distance)
    scores: dict[tuple[bool, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.inference_mode()
    def score(schedule) -> tuple[torch.Tensor, torch.Tensor]:
        if schedule.computed not in scores:
            latents = test.latents(schedule)
            scores[schedule.computed] = picture_distance(test, latents), latent_error(test, latents)
        return scores[schedule.computed]

    full = {}
    for variant, seed, learned, memo in search(demo, options):
        for k in options.k:
            even, schedule = uniform(options.steps, k), learned.schedules[k]
            pictures, latents = score(schedule)
            if variant == "full":
                full[k, seed] = pictures
            cell = {"model": name, "variant": variant, "k": k, "n": options.steps, "seed": seed}
            print(f"{cell}: [{schedule}]", file=sys.stderr, flush=True)
            for figure, (value, ci95) in (("over_uniform", ratio(pictures, score(even)[0])),
                                          ("over_full", ratio(pictures, full[k, seed]))):
                yield Figure(figure, value, "1", cell)
                yield Figure(f"{figure}_ci95", ci95, "1", cell)
            yield Figure("latent_over_uniform", ratio(latents, score(even)[1])[0], "1", cell)
            yield Figure("training_over_uniform", memo.mean_cost(schedule) / memo.mean_cost(even), "1", cell)
            yield Figure("evaluations", learned.evaluations, "1", cell)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "wan"])
    parser.add_argument("--mechanism", default="taylor")
    parser.add_argument("--order", type=int, default=1)
    parser.add_argument("--point", default="output", help="cache point: output or blocks")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--k", type=int, nargs="+", default=[7, 9, 13])
    parser.add_argument("--samples", type=int, default=8, help="training samples (default: 8)")
    parser.add_argument("--test", type=int, default=32, help="prompt-seed pairs to compare on (default: 32)")
    parser.add_argument("--evaluations", type=int, default=8000, help="that a search may take (default: 8000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        host = session.start(os.environ["COMFYUI_PATH"], base)
        publish([figure for name in options.models for figure in measure(name, options, host.models)], options.json)


if __name__ == "__main__":
    main()
