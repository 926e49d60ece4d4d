"""Few steps: schedules and mechanisms against simply taking k steps, from 4 steps to 50.

The reference is the run of all n steps with the same sampler; prompts and seeds were never trained on. Schedules: the
rules of ``RULES``, and for ``--search`` the best of all schedules by the latents' error on other samples. Mechanisms:
the pack's, and those of other papers (see rival_mechanisms). "fewer steps" is an uncached run of k steps, with the same
sampler and with those of ``SOLVERS``.

Figures of a cell: ``latent_mse``; ``latent_ratio``, the geometric mean over samples of the latent's squared error over
that of fewer steps with the same sampler, and the bounds of its 95% interval; ``beside``, the same over the best of the
mechanisms that ``--beside`` names, with this schedule; ``st_lpips`` with half of its 95% interval, ``st_lpips_q90``,
which nine of ten samples stay below, and ``more`` and ``more_than_learned``, the paired differences to fewer steps and
to what ReCache Train learned, with their own intervals. Pictures are decoded for fewer steps with the same sampler and
with the best other one, for what ``--fitted`` names, and for the ``--pictures`` schedules of each k that have the
least latent error. ``--rivals`` are caches with a threshold that is tuned to k computed evaluations.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import combinations
from math import comb, exp
from pathlib import Path

import numpy as np
import torch

from tests.bench.figures import Figure, publish
from tests.bench.fitted import METHODS, TRAINING, Fitted
from tests.bench.sampling import host
from tests.bench.st_lpips import distance, features

BUDGETS = {4: (1, 2, 3), 6: (1, 2, 3, 4, 5), 8: (1, 2, 3, 4, 5, 6, 7), 12: (2, 3, 4, 6, 8, 10, 11),
           20: (2, 3, 4, 6, 8, 10, 14, 18, 19), 30: (3, 5, 8, 10, 15, 20, 27), 50: (3, 5, 7, 9, 13, 20, 30, 45)}
MECHANISMS = (("reuse", 1), ("taylor", 1), ("taylor", 2), ("hermite", 1))
SOLVERS = ("dpmpp_2m", "deis", "res_multistep", "uni_pc")
SEARCHED = 60  # schedules at most for which all are tried
SEARCH_SAMPLES = 16
PREFIX_CACHE_BYTES = 2 << 30
FRAMES = 3  # of a clip that are decoded


def evenly(n: int, k: int) -> tuple[int, ...]:
    """Evaluations floor(i n / k): the last stretch is forecast."""
    return tuple(i * n // k for i in range(k))


def to_the_last(n: int, k: int, first: int = 1) -> tuple[int, ...]:
    """The first `first`, then even distances to the last evaluation, which is computed."""
    if k == 1:
        return (0,)
    first = min(first, k - 1)
    gaps = k - first
    return (*range(first), *(first - 1 + (2 * i * (n - first) + gaps) // (2 * gaps) for i in range(1, gaps + 1)))


def default(n: int, k: int) -> tuple[int, ...]:
    """The pack's schedule where there is no policy."""
    from recache.policies.defaults import default_schedule

    return default_schedule(n, k).indices


RULES = {
    "default": default,
    "evenly": evenly,
    "to the last": to_the_last,
    "first 2, to the last": lambda n, k: to_the_last(n, k, 2),
    "first 3, to the last": lambda n, k: to_the_last(n, k, 3),
}


class Runs:
    """Batched runs of a demo model through ReCache Train's Workflow, their prefixes shared.

    Attributes:
        reference: [samples, ...] latents of the runs with all n steps.
    """

    def __init__(self, demo, samples: Sequence, n: int):
        from recache import caching

        self.demo, self.n, self.samples = demo, n, samples
        self.workflow, evaluations, self.parts = demo.workflow(samples, n, demo.batch)
        if evaluations != n:
            raise RuntimeError(f"{demo.sampler} takes {evaluations} evaluations for {n} steps")
        self.caches = [caching.PrefixCache(PREFIX_CACHE_BYTES // len(self.parts)) for _ in self.parts]
        self.reference = self._all(self.workflow.uncached)

    def _all(self, run) -> torch.Tensor:
        return torch.cat([run(part) for part in self.parts])

    def fewer(self, k: int, sampler: str) -> torch.Tensor:
        """Latents of uncached runs of k steps."""
        workflow, evaluations, parts = replace(self.demo, sampler=sampler).workflow(
            self.samples, self.n, self.demo.batch)
        if evaluations != self.n:
            raise RuntimeError(f"{sampler} takes {evaluations} evaluations for {self.n} steps")
        return torch.cat([workflow.uncached(part, k / self.n) for part in parts])

    @cached_property
    def gram(self) -> np.ndarray:
        """[n, n], mean inner products of directions, recorded on samples that are not measured."""
        from recache.caching.feature_kind import FeatureKind
        from recache.caching.recording import Recording

        workflow, _, parts = self.demo.workflow(self.demo.samples(SEARCH_SAMPLES, 5000), self.n, self.demo.batch)
        grams = []
        for part in parts:
            record = Recording(FeatureKind.DIRECTION)
            workflow.reference(part, record)
            grams.append(record.gram())
        return np.mean(grams, 0)

    def cached(self, indices: Sequence[int], mechanism: tuple[str, int], gram: np.ndarray | None = None,
               cache_point: str = "output") -> torch.Tensor:
        """Latents of runs that compute `indices` only; `gram` is a policy's."""
        from recache import caching
        from tests.bench import rival_mechanisms

        if gram is None and mechanism[0] in rival_mechanisms.NAMES:
            model = rival_mechanisms.attach(self.demo.model, indices, rival_mechanisms.make(*mechanism, self))
            return self.demo.sample(model, self.samples, self.n)
        computed = tuple(i in set(indices) for i in range(self.n))
        latents = []
        for part, cache in zip(self.parts, self.caches, strict=True):
            reports: list = []
            config = caching.CacheConfig(
                lambda times, cost: computed, *mechanism, gram=gram, cache_point=cache_point, prefix_cache=cache,
                published=reports.append)
            latents.append(self.workflow.cached(part, config))
            if reports[-1].computed != list(indices):
                raise RuntimeError(f"{reports[-1].computed} instead of {indices}: {reports[-1].notes}")
        return torch.cat(latents)

    def error(self, latents: torch.Tensor) -> torch.Tensor:
        """Mean squared errors [samples]."""
        return (latents - self.reference).square().flatten(1).mean(1)


def search(runs: Runs, k: int, mechanism: tuple[str, int]) -> tuple[int, ...]:
    """Of all schedules the one with the least geometric mean of the latents' errors."""
    schedules = [(0, *rest) for rest in combinations(range(1, runs.n), k - 1)]
    return min(schedules, key=lambda s: float(runs.error(runs.cached(s, mechanism)).clamp_min(1e-12).log().mean()))


class Pictures:
    """ST-LPIPS to the reference's pictures, of some frames of a clip."""

    def __init__(self, demo, reference: torch.Tensor):
        self.demo = demo
        self.reference = features(self._decode(reference).flatten(0, 1))

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        if latents.ndim == 5:
            latents = latents[:, :, torch.linspace(0, latents.shape[2] - 1, FRAMES).round().long()]
        return self.demo.pictures(latents)

    def distance(self, latents: torch.Tensor) -> torch.Tensor:
        """[samples], the mean over frames."""
        found = self._decode(latents)
        apart = distance(features(found.flatten(0, 1)), self.reference)
        return apart.unflatten(0, (-1, found.shape[1])).mean(1)


def half_interval(values: torch.Tensor) -> float:
    """Half of the 95% interval of the mean."""
    return float(1.96 * values.std() / len(values) ** 0.5)


def log_ratio(errors: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """[samples]"""
    return (errors.clamp_min(1e-12) / others.clamp_min(1e-12)).log()


def ratio_figures(names: Sequence[str], ratios: torch.Tensor, cell: dict) -> Iterator[Figure]:
    """Geometric mean of log ratios [samples], and the bounds of its 95% interval."""
    middle, half = float(ratios.mean()), half_interval(ratios)
    for name, value in zip(names, (middle, middle - half, middle + half), strict=True):
        yield Figure(name, exp(value), "1", cell)


def schedules_of(runs: Runs, searched: Runs | None, k: int, mechanisms: Sequence[tuple[str, int]],
                 rules: Sequence[str]) -> Iterator[tuple[str, tuple[str, int], tuple[int, ...]]]:
    """(name, mechanism, computed evaluations) to compare at one k, each schedule once a mechanism."""
    from recache.policies.defaults import default_mechanism

    for mechanism in dict.fromkeys(default_mechanism(runs.n, k) if m[0] == "auto" else m for m in mechanisms):
        seen = set()
        for name in rules:
            indices = RULES[name](runs.n, k)
            if indices not in seen:
                seen.add(indices)
                yield name, mechanism, indices
        if searched is not None and comb(runs.n - 1, k - 1) <= SEARCHED:
            yield "best of all", mechanism, search(searched, k, mechanism)


def to_decode(errors: dict[tuple, torch.Tensor], sampler: str, best: int) -> set[tuple]:
    """The cells whose pictures are compared."""
    ranked = sorted(errors, key=lambda key: float(errors[key].clamp_min(1e-12).log().mean()))
    fewer = [key for key in ranked if key[0] == "fewer steps" and key[1] != sampler][:1]
    same = [key for key in errors if key[:2] == ("fewer steps", sampler)]
    fitted = [key for key in errors if key[0] in METHODS]
    return {*fewer, *same, *fitted, *[key for key in ranked if key[0] != "fewer steps"][:best]}


def latents_of(runs: Runs, searched: Runs | None, fitted: Fitted | None, rivals: dict, k: int,
               options) -> dict[tuple, torch.Tensor]:
    """{(schedule's name, mechanism, computed evaluations): latents} of everything to compare at one k."""
    found: dict[tuple, torch.Tensor] = {
        ("fewer steps", solver, "-"): runs.fewer(k, solver)
        for solver in dict.fromkeys((runs.demo.sampler, *options.solvers))}
    schedules = list(schedules_of(runs, searched, k, options.mechanisms, options.rules))
    schedules += [(method, *fitted.find(method)[k]) for method in options.fitted]
    latents: dict[tuple, torch.Tensor] = {}  # two methods often find the same
    for name, mechanism, indices in schedules:
        gram = fitted.gram(name, k) if fitted else None
        key = mechanism, indices, gram is None
        if key not in latents:
            latents[key] = runs.cached(indices, mechanism, gram)
        found[name, "{} {}".format(*mechanism), indices] = latents[key]
    for name, tuned in rivals.items():
        found[name, f"{tuned[k][1]:.2f} computed", "-"] = tuned[k][0]
    return found


def picture_figures(distances: dict[tuple, torch.Tensor], key: tuple, sampler: str, cell: dict) -> Iterator[Figure]:
    """ST-LPIPS, and its paired differences to fewer steps and to the learned schedule."""
    distance = distances[key]
    yield Figure("st_lpips", float(distance.mean()), "1", cell)
    yield Figure("ci95", half_interval(distance), "1", cell)
    yield Figure("st_lpips_q90", float(distance.quantile(0.9)), "1", cell)
    others = {"more": distances["fewer steps", sampler, "-"]}
    learned = [other for name, other in distances.items() if name[0] == "learned"]
    others |= {"more_than_learned": learned[0]} if learned else {}
    for name, other in others.items():
        yield Figure(name, float((distance - other).mean()), "1", cell)
        yield Figure(f"{name}_ci95", half_interval(distance - other), "1", cell)


def measure(demo, n: int, counts: Sequence[int], options) -> Iterator[Figure]:
    started = time.monotonic()
    samples = demo.samples(options.samples)
    runs = Runs(demo, samples, n)
    searched = Runs(demo, demo.samples(SEARCH_SAMPLES, 5000), n) if options.search else None
    fitted = Fitted(Runs(demo, demo.samples(options.prompts, TRAINING), n), counts,
                    options.evaluations) if options.fitted else None
    pictures = Pictures(demo, runs.reference) if options.pictures else None
    rivals = {name: tuned_to(name, demo, samples, n, counts) for name in options.rivals}
    cell = {"model": demo.name, "n": n, "sampler": demo.sampler, "cfg": demo.cfg}
    for k in counts:
        found = latents_of(runs, searched, fitted, rivals, k, options)
        errors = {key: runs.error(latents) for key, latents in found.items()}
        fewer_error = errors["fewer steps", demo.sampler, "-"]
        decoded = to_decode(errors, demo.sampler, options.pictures) if pictures else set()
        once = {id(found[key]): found[key] for key in decoded}  # equal schedules have the same latents
        apart = {name: pictures.distance(latents) for name, latents in once.items()}
        distances = {key: apart[id(found[key])] for key in decoded}
        for key in found:
            here = cell | {"k": k, "schedule": key[0], "mechanism": key[1], "computed": key[2]}
            yield Figure("latent_mse", float(errors[key].mean()), "1", here)
            yield from ratio_figures(("latent_ratio", "low", "high"), log_ratio(errors[key], fewer_error), here)
            beside = [errors[other] for other in errors if other[2] == key[2] and other[1] in options.beside]
            if beside and key[0] != "fewer steps":
                best = min(beside, key=lambda error: float(error.clamp_min(1e-12).log().mean()))
                yield from ratio_figures(("beside", "beside_low", "beside_high"), log_ratio(errors[key], best), here)
            if key in distances:
                yield from picture_figures(distances, key, demo.sampler, here)
        print(f"{demo.name} {n} {k}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def tuned_to(name: str, demo, samples: Sequence, n: int, counts: Sequence[int]) -> dict:
    """{k: (latents, mean number of computed evaluations)} of a cache with a threshold."""
    from tests.bench.rivals import RIVALS, TUNED_ON, tuned

    few, all_samples = (partial(RIVALS[name], demo, part, n) for part in (samples[:TUNED_ON], samples))
    return tuned(few, all_samples, counts)


def measure_all(options, models: Path) -> Iterator[Figure]:
    """The figures of every model and number of steps."""
    from recache.policies.budget import computed_for_budget
    from tests.bench import demo_models

    for name in options.models:
        demo = demo_models.load(name, models)
        demo.cfg, demo.sampler = options.cfg or demo.cfg, options.sampler
        for n in options.n:
            counts = [k for k in options.k if k < n] if options.k else BUDGETS[n]
            if options.budgets:
                counts = sorted({computed_for_budget(budget, n) for budget in options.budgets} - {1, n})
            yield from measure(demo, n, counts, options)


def parse_mechanism(text: str) -> tuple[str, int]:
    """"taylor2" -> ("taylor", 2)."""
    name = text.rstrip("0123456789")
    return name, int(text[len(name):] or 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=["flux", "flux_8_steps", "flux_4_steps", "wan"])
    parser.add_argument("--samples", type=int, default=32, help="prompt-seed pairs")
    parser.add_argument("--n", type=int, nargs="+", default=list(BUDGETS), help="steps")
    parser.add_argument("--k", type=int, nargs="+", help="computed evaluations, instead of those of each n")
    parser.add_argument("--budgets", type=float, nargs="+", help="the same as shares of n")
    parser.add_argument("--sampler", default="euler")
    parser.add_argument("--cfg", type=float, help="instead of the model's own")
    parser.add_argument("--mechanisms", type=parse_mechanism, nargs="*", default=list(MECHANISMS),
                        help="like taylor2; auto: the default")
    parser.add_argument("--beside", nargs="*", default=[], help="mechanisms to compare with, like 'taylor 1'")
    parser.add_argument("--rules", nargs="*", default=list(RULES), choices=list(RULES))
    parser.add_argument("--solvers", nargs="*", default=list(SOLVERS), help="of fewer steps")
    parser.add_argument("--fitted", nargs="*", default=[], choices=METHODS, help="schedules fitted to the model")
    parser.add_argument("--prompts", type=int, default=8, help="training samples of --fitted")
    parser.add_argument("--evaluations", type=int, default=3600, help="of ReCache Train, in all")
    parser.add_argument("--rivals", nargs="*", default=[], help="caches with a threshold, like EasyCache")
    parser.add_argument("--search", action="store_true", help="the best of all schedules too, where they are few")
    parser.add_argument("--pictures", type=int, default=3, help="schedules of each k that are decoded; 0: no pictures")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        publish(measure_all(options, comfy.models), options.json)


if __name__ == "__main__":
    main()
