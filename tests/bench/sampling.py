"""Runs to be measured: the host in this process, a model of the tests, uncached or with the pack on it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from recache.policies.uniform import uniform
from tests.hosting import session
from tests.tiny.families import Family


@contextmanager
def host(cpu: bool = True) -> Iterator[session.Host]:
    """The ComfyUI of ``COMFYUI_PATH`` in this process, with a base directory that is deleted afterwards."""
    path = os.environ.get("COMFYUI_PATH")
    if not path:
        sys.exit("No ComfyUI: run `nox -s bench -- NAME`, or set COMFYUI_PATH.")
    with TemporaryDirectory(prefix="recache-bench-") as base:
        yield session.start(path, base, cpu=cpu)


def load(family: Family) -> Any:
    """The MODEL of a family of one network, loaded by the stock loader."""
    with TemporaryDirectory(prefix="recache-bench-") as folder:
        return family.load(family.write(Path(folder)))[0]


@dataclass(frozen=True)
class Setup:
    """How a run is cached: ``mechanism`` at ``cache_point`` with k evaluations computed, at even distances."""

    mechanism: str
    cache_point: str
    k: int
    order: int = 1

    def on(self, model: Any) -> Any:
        """A clone of the MODEL with the pack on it. The plan has exactly k whatever cached evaluations cost."""
        from recache import caching

        return caching.attach(model, caching.CacheConfig(
            schedule=lambda times, cached_cost: uniform(len(times), self.k).computed,
            mechanism=self.mechanism, order=self.order, cache_point=self.cache_point))


@dataclass(frozen=True)
class Timing:
    """A run as seen from outside.

    Attributes:
        seconds: from the call of the host's ``sample`` to its return.
        evaluations: seconds of evaluations 1, 2, ... (that of evaluation 0 holds the preparations, and is left out).
    """

    seconds: float
    evaluations: list[float]


def sample(model: Any, family: Family, steps: int, cfg: float = 1.0) -> Timing:
    """Samples with Euler, one evaluation a step, through the host's own ``sample``."""
    import comfy.sample

    positive, negative = family.conditioning()
    latent = family.latent()["samples"]
    noise = comfy.sample.prepare_noise(latent, 0)
    stamps = []
    start = time.perf_counter()
    with torch.inference_mode():
        comfy.sample.sample(
            model, noise, steps, cfg, "euler", "simple", positive, negative, latent,
            callback=lambda *_: stamps.append(time.perf_counter()), disable_pbar=True, seed=0)
    return Timing(time.perf_counter() - start, [after - before for before, after in pairwise(stamps)])


def report(model: Any) -> Any:
    """The report of the last run with this MODEL.

    Raises:
        RuntimeError: the run was not cached as it was set up.
    """
    from recache import caching

    settings = caching.config_of(model)
    last = caching.reports_of(settings.identity)[-1]
    if last.cache_point != settings.cache_point or last.computed != last.planned:
        raise RuntimeError(
            f"not what was to be measured: cached at {last.cache_point}, computed {last.computed}; {last.notes}")
    return last
