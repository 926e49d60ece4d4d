"""Finer than a step: does spacing a run's noise levels anew, for its schedule, bring the cached run closer?

The reference is the uncached run over the scheduler's own noise levels. A spacing is a function from the share of the
steps done to the share of the scheduler's time used; its slope is a power law between ``KNOTS`` points, found by
Nelder and Mead's derivative-free search (scipy) for the least geometric mean of the latents' squared errors on training
pairs. "default": n evaluations under the default schedule and mechanism; "learned": under those that ReCache Train
found over the scheduler's own levels, on the same pairs; "fewer steps": k uncached steps. Figures of a cell, on other
pairs: ``latent_ratio`` of the spaced run over the same with the scheduler's own levels, with its 95% interval (below 1:
spacing wins), and ``st_lpips`` of both. Compute is equal: k evaluations.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.optimize import minimize

from tests.bench.few_steps import Pictures, Runs, default, log_ratio, ratio_figures
from tests.bench.figures import Figure, publish
from tests.bench.fitted import TRAINING, Fitted
from tests.bench.sampling import host

KNOTS = 4
CELLS = {"flux": ((8, 5), (20, 6), (20, 10), (50, 9)), "flux_8_steps": ((8, 4), (8, 6)), "wan": ((8, 5), (20, 6))}
WAYS = ("default", "learned", "fewer steps")


def spaced(steps: int, knots: Sequence[float]) -> np.ndarray:
    """[steps + 1] from 0 to 1: the integral of exp(knots), interpolated linearly, at even distances."""
    fine = np.linspace(0.0, 1.0, 1001)
    density = np.exp(np.interp(fine, np.linspace(0.0, 1.0, len(knots)), knots))
    total = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return np.interp(np.linspace(0.0, 1.0, steps + 1), fine, total / total[-1])


class Spacing:
    """Runs of some samples over noise levels that are spaced anew.

    Args:
        steps: to take. config: what to cache; None: nothing.
    """

    def __init__(self, demo, samples: Sequence, n: int, steps: int, config):
        from recache import caching

        self.demo, self.samples, self.steps = demo, samples, steps
        self.levels = self._levels(n)
        self.model = caching.attach(demo.model, config) if config else demo.model

    def _levels(self, n: int) -> np.ndarray:
        import comfy.samplers

        sampling = self.demo.model.get_model_object("model_sampling")
        return comfy.samplers.calculate_sigmas(sampling, self.demo.scheduler, n).double().numpy()

    def run(self, knots: Sequence[float]) -> torch.Tensor:
        """Latents [samples, ...]; knots of zeros: the scheduler's own levels."""
        places = spaced(self.steps, knots) * (len(self.levels) - 1)
        sigmas = torch.tensor(np.interp(places, np.arange(len(self.levels)), self.levels), dtype=torch.float32)
        return self.demo.sample(self.model, self.samples, self.steps, sigmas)


def fitted_knots(training: Spacing, runs: Runs, tries: int) -> np.ndarray:
    """The knots with the least error on the training samples; one of them is free of choice, and 0."""
    def cost(free: np.ndarray) -> float:
        error = runs.error(training.run([0.0, *free]))
        return float(error.clamp_min(1e-12).log().mean())

    start = np.vstack([np.zeros(KNOTS - 1), 0.4 * np.eye(KNOTS - 1)])
    found = minimize(cost, start[0], method="Nelder-Mead", options={"maxfev": tries, "initial_simplex": start})
    return np.array([0.0, *found.x])


def settings_of(way: str, n: int, k: int, fitted: Fitted):
    """The settings of a run of n evaluations that computes k of them; None for fewer steps."""
    from recache import caching
    from recache.policies.defaults import default_mechanism
    from recache.policies.schedule import from_indices

    if way == "fewer steps":
        return None
    mechanism, indices = fitted.learned[k] if way == "learned" else (default_mechanism(n, k), default(n, k))
    computed = from_indices(indices, n).computed
    return caching.CacheConfig(
        lambda times, cost: computed, *mechanism, gram=fitted.gram(way, k), cache_point="output")


def measure(demo, n: int, ks: Sequence[int], options) -> Iterator[Figure]:
    trained, tested = (Runs(demo, demo.samples(count, first), n)
                       for count, first in ((options.prompts, TRAINING), (options.test, 0)))
    pictures = Pictures(demo, tested.reference)
    learned = Fitted(trained, ks, options.evaluations)
    for k in ks:
        for way in options.ways:
            config = settings_of(way, n, k, learned)
            training, test = (Spacing(demo, runs.samples, n, n if config else k, config)
                              for runs in (trained, tested))
            knots = fitted_knots(training, trained, options.tries)
            own, made = test.run(np.zeros(KNOTS)), test.run(knots)
            cell = {"model": demo.name, "n": n, "k": k, "way": way, "knots": np.round(knots, 2).tolist()}
            yield from ratio_figures(("latent_ratio", "low", "high"),
                                     log_ratio(tested.error(made), tested.error(own)), cell)
            for spacing, latents in (("the scheduler's", own), ("fitted", made)):
                yield Figure("st_lpips", float(pictures.distance(latents).mean()), "1", cell | {"spacing": spacing})


def measure_all(options, models: Path) -> Iterator[Figure]:
    from tests.bench import demo_models

    for name in options.models:
        demo = demo_models.load(name, models)
        for n in sorted({n for n, _ in CELLS[name]}):
            yield from measure(demo, n, [k for steps, k in CELLS[name] if steps == n], options)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--models", nargs="+", default=list(CELLS), choices=CELLS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--evaluations", type=int, default=3600, help="of ReCache Train, in all")
    parser.add_argument("--prompts", type=int, default=8, help="training pairs")
    parser.add_argument("--test", type=int, default=32, help="pairs to compare on")
    parser.add_argument("--tries", type=int, default=60, help="spacings at most that a search runs")
    options = parser.parse_args()
    with host(cpu=not torch.cuda.is_available()) as comfy, torch.inference_mode():
        publish(measure_all(options, comfy.models), options.json)


if __name__ == "__main__":
    main()
