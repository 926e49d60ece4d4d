"""Runs the host's own samplers on tiny models and counts, apart from the pack, what is asked for and what runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import comfyui_version
import folder_paths
import pytest
import torch
from comfy.patcher_extension import WrappersMP
from comfy.samplers import CFGGuider
from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced
from nodes import common_ksampler

from recache import caching
from recache.policies.budget import computed_for_budget
from recache.policies.uniform import uniform
from tests.tiny.families import FAMILIES

UNLISTED = ("input_blocks", "middle_block", "output_blocks")  # UNets keep their blocks under these names


@dataclass
class Evaluation:
    """One call of the denoiser by the sampler.

    Attributes:
        sigma: its noise level.
        calls: of the network.
        blocks: calls of its transformer blocks.
        passes: what the network was given and what it made of it, a pair a call; kept on demand.
    """

    sigma: float
    calls: int = 0
    blocks: int = 0
    passes: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)


@dataclass
class Trace:
    """One run: the latent that it made, every evaluation that the sampler asked for, and ReCache's report on it."""

    samples: torch.Tensor
    evaluations: list[Evaluation]
    report: caching.Report | None = None

    @property
    def with_network(self) -> list[int]:
        """Evaluations in which the network was called."""
        return [i for i, evaluation in enumerate(self.evaluations) if evaluation.calls]

    @property
    def with_blocks(self) -> list[int]:
        """Evaluations in which a transformer block ran."""
        return [i for i, evaluation in enumerate(self.evaluations) if evaluation.blocks]

    @property
    def computed(self) -> list[int]:
        """Evaluations that the cache point of the run left to the network."""
        return self.with_blocks if self.report.cache_point == "blocks" else self.with_network


def blocks_of(network: torch.nn.Module) -> list[torch.nn.Module]:
    """What its lists of modules hold; those of its parts where it has none of its own."""
    own = [child for name, child in network.named_children()
           if isinstance(child, torch.nn.ModuleList) or name in UNLISTED]
    lists = own or [part for part in network.modules() if isinstance(part, torch.nn.ModuleList)]
    return [block for blocks in lists for block in blocks]


class Watch:
    """While entered, counts what runs in the network of `model` by torch's own hooks, evaluation by evaluation."""

    def __init__(self, model, keep: bool = False):
        self.network = model.model.diffusion_model
        self.keep = keep
        self.evaluations: list[Evaluation] = []
        self.handles: list = []

    def predict_noise(self, executor, x, timestep, *args, **kwargs):
        """A wrapper of the guider's denoiser; the outermost sees every evaluation that the sampler asks for."""
        self.evaluations.append(Evaluation(float(timestep.flatten()[0])))
        return executor(x, timestep, *args, **kwargs)

    def __enter__(self):
        self.handles = [self.network.register_forward_hook(self._called)]
        self.handles += [block.register_forward_hook(self._ran_block) for block in blocks_of(self.network)]
        return self

    def __exit__(self, *exception):
        for handle in self.handles:
            handle.remove()

    def _called(self, module, args, output):
        self.evaluations[-1].calls += 1
        if self.keep:
            self.evaluations[-1].passes.append((args[0].clone(), output.clone()))

    def _ran_block(self, module, args, output):
        self.evaluations[-1].blocks += 1


@cache
def models(name: str) -> tuple:
    """The MODELs of a tiny family, loaded once by the stock loader; skips the test if the host has no such family."""
    family = FAMILIES[name]
    if tuple(map(int, family.host_since.split("."))) > tuple(map(int, comfyui_version.__version__.split(".")[:3])):
        pytest.skip(f"{family.title} needs ComfyUI {family.host_since}")
    folder = Path(folder_paths.base_path) / "models" / "diffusion_models"
    return tuple(family.load(family.write(folder)))


@torch.inference_mode(False)
def prompt(name: str, seed: int, tokens: int | None = None, **options) -> list:
    """A CONDITIONING of the family `name`, of its usual length or of `tokens`, with `options` set."""
    [[text, values]] = FAMILIES[name].conditioning(seed)[0]
    if tokens is not None:
        text = text.repeat(1, -(-tokens // text.shape[1]), 1)[:, :tokens]
    return [[text, {**values, **options}]]


def uniform_schedule(budget: float) -> Callable:
    """Evenly spread evaluations, as many as the budget pays for."""
    def schedule(times, cached_cost):
        return uniform(len(times), computed_for_budget(budget, len(times), cached_cost)).computed

    return schedule


def settings(budget: float = 0.5, computed: set[int] | None = None, **options) -> caching.CacheConfig:
    """ReCache settings with a uniform schedule of `budget`, or one that computes the evaluations `computed`."""
    if computed is not None:
        return caching.CacheConfig(
            schedule=lambda times, cost: tuple(i in computed for i in range(len(times))), **options)
    return caching.CacheConfig(schedule=uniform_schedule(budget), **options)


def observe(model, recache, sample: Callable, keep: bool = False) -> Trace:
    """Samples with a clone of `model`, under ReCache `CacheConfig` unless they are None.

    Args:
        sample: called with the clone; returns the latent tensor.
        keep: keep copies of the network's inputs and outputs.
    """
    watch = Watch(model, keep)
    model = model.clone()
    model.add_wrapper(WrappersMP.PREDICT_NOISE, watch.predict_noise)  # before ReCache's, so outside of it
    if recache is not None:
        model = caching.attach(model, recache)
    with watch:
        samples = sample(model)
    report = caching.reports_of(recache.identity)[-1] if recache is not None else None
    return Trace(samples, watch.evaluations, report)


def ksampler(name: str, *, sampler: str = "euler", scheduler: str = "simple", steps: int = 6, cfg: float = 1.0,
             batch: int = 1, seed: int = 1, prompts=None, latent=None, **options) -> Callable:
    """What the stock KSampler node does with a model of the family `name`, ready for `observe`."""
    family = FAMILIES[name]
    positive, negative = prompts or family.conditioning()

    @torch.inference_mode()  # as the host runs every node
    def sample(model):
        start = latent or family.empty(batch)
        return common_ksampler(
            model, seed, steps, cfg, sampler, scheduler, positive, negative, start, **options)[0]["samples"]

    return sample


def advanced(name: str, sampler, sigmas: torch.Tensor, *, cfg: float = 1.0, batch: int = 1, seed: int = 1,
             prompts=None, latent=None, guider: Callable | None = None) -> Callable:
    """What the stock SamplerCustomAdvanced node does with a sampler object and noise levels, ready for `observe`.

    Args:
        guider: makes the guider from the MODEL; the CFG guider with the family's prompts by default.
    """
    family = FAMILIES[name]

    def cfg_guider(model):
        made = CFGGuider(model)
        made.set_conds(*(prompts or family.conditioning()))
        made.set_cfg(cfg)
        return made

    @torch.inference_mode()  # as the host runs every node
    def sample(model):
        start = latent or family.empty(batch)
        noise = RandomNoise.execute(seed).args[0]
        made = (guider or cfg_guider)(model)
        return SamplerCustomAdvanced.execute(noise, made, sampler, sigmas, start).args[0]["samples"]

    return sample


def run(name: str, recache=None, *, keep: bool = False, **options) -> Trace:
    """`ksampler` on the family's first model, observed."""
    return observe(models(name)[0], recache, ksampler(name, **options), keep)


def assert_same(script: Script, other: Script, cache_point: str) -> None:
    """Two runs got the same answers: to the bit at `blocks`; the arithmetic of a forecast at the output rounds."""
    answers, others = torch.stack(script.answers), torch.stack(other.answers)
    if cache_point == "blocks":
        assert torch.equal(answers, others)
    else:
        torch.testing.assert_close(answers, others, rtol=1e-4, atol=1e-4)


def check_plan(trace: Trace, budget: float) -> None:
    """The run did what it planned, and the plan is the most that the budget pays for."""
    report, n = trace.report, len(trace.evaluations)
    assert report.evaluations == n == len(report.times)
    assert report.computed == report.planned == trace.computed
    assert not report.unplanned and not report.notes and report.finished
    k, cost = len(report.planned), report.cached_cost
    assert k + (n - k) * cost <= budget * n + 1e-6 or k == 1
    assert (k + 1) + (n - k - 1) * cost > budget * n - 1e-6 or k == n


class Script:
    """A sampler that asks the same whatever it is answered, so that runs can be compared evaluation by evaluation.

    Attributes:
        pace: how far the inputs move from one evaluation to the next; 0: not at all.
        before: called with the number of every evaluation before it.
        answers: what it was answered in its last run, one [batch, channels, ...] an evaluation.
        directions: (input - answer) / noise level, likewise.
    """

    def __init__(self, pace: float = 0.1, before: Callable[[int], None] = lambda i: None):
        self.pace = pace
        self.before = before
        self.answers: list[torch.Tensor] = []
        self.directions: list[torch.Tensor] = []

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, latent_image=None, denoise_mask=None,
               disable_pbar=False):
        self.answers, self.directions = [], []
        extra_args = {name: extra_args[name] for name in ("model_options", "seed")}
        for i, sigma in enumerate(sigmas[:-1]):
            self.before(i)
            x = noise * (1.0 - self.pace * i) + 0.5 * self.pace * i
            self.answers.append(model_wrap(x, sigma * noise.new_ones(noise.shape[0]), **extra_args))
            self.directions.append((x - self.answers[-1]) / sigma)
        return noise

    def run(self, name: str, recache, sigmas=None, model=None, **options) -> Trace:
        """`advanced` with this sampler, observed, on the family's first model or another MODEL of it."""
        sigmas = torch.linspace(0.9, 0.1, 9) if sigmas is None else sigmas
        return observe(model or models(name)[0], recache, advanced(name, self, sigmas, **options))
