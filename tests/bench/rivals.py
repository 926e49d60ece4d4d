"""Caches with a threshold, tuned to compute as many evaluations as a budget pays for: the host's own, and DiCache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from tests.bench import dicache
from tests.bench.demo_models import DemoModel, Sample

NODES = {"EasyCache": EasyCacheNode, "LazyCache": LazyCacheNode}
TUNED_ON = 16  # samples
LARGEST = 4.0  # threshold that is tried
TUNING = 12  # runs for every k
CLOSE = 0.1  # evaluations more than asked for that end the tuning
LOWERED = 0.98

Run = Callable[[float], tuple[torch.Tensor, float]]


def _keep_input(executor, x, *args, **kwargs):
    """EasyCache adds to the tensor that it is given, in float32 the sampler's own, and ruins the picture."""
    return executor(x.clone(), *args, **kwargs)


class _Counter:
    """Counts calls of the network's first block: EasyCache answers in the network's place, inside of its own call."""

    def __init__(self, model):
        self.calls = 0
        network = model.model.diffusion_model
        blocks = next(child for child in network.children() if isinstance(child, torch.nn.ModuleList))
        self.handle = blocks[0].register_forward_hook(self._called)

    def _called(self, *_):
        self.calls += 1


def host_cache(name: str, demo: DemoModel, samples: Sequence[Sample], steps: int,
               threshold: float) -> tuple[torch.Tensor, float]:
    """Latents of `samples`, and the mean number of evaluations computed.

    Over the whole run (start 0, end 1: the node's defaults compute more than small budgets by themselves). A batch is
    cached as one.
    """
    model = demo.model.clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "bench.keep_input", _keep_input)
    model = NODES[name].execute(model, threshold, 0.0, 1.0, False).args[0]
    counter = _Counter(model)
    try:
        latents = demo.sample(model, samples, steps)
    finally:
        counter.handle.remove()
    return latents, counter.calls / -(-len(samples) // demo.batch)


def online(error: str, demo: DemoModel, samples: Sequence[Sample], steps: int,
           threshold: float) -> tuple[torch.Tensor, float]:
    """The same of DiCache (see dicache): every sample decides for itself."""
    model, runs = dicache.attach(demo.model, steps, threshold, error)
    latents = demo.sample(model, samples, steps)
    return latents, sum(float(torch.stack(run.computed).sum()) for run in runs) / len(samples)


RIVALS = {name: partial(host_cache, name) for name in NODES} | {
    f"DiCache, {error}": partial(online, error) for error in dicache.ERRORS}


def tuned(few: Run, run: Run, counts: Sequence[int]) -> dict[int, tuple[torch.Tensor, float]]:
    """For every k, what `run` gives at a threshold that makes it compute k evaluations or hardly more.

    Found by bisection with `few`, the same on some of the samples, and then lowered until it is enough for all.
    """
    tried: dict[float, float] = {}
    found = {}
    for k in counts:
        low = 0.0
        for _ in range(TUNING):
            low = max((threshold for threshold, computed in tried.items() if computed >= k), default=0.0)
            high = min((threshold for threshold in tried if threshold > low), default=LARGEST)
            if low and tried[low] - k < CLOSE:
                break
            middle = (low * high) ** 0.5 if low else high / 64
            tried[middle] = few(middle)[1]
        found[k] = run(low)
        while found[k][1] < k:
            low *= LOWERED
            found[k] = run(low)
    return found
