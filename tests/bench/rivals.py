"""The host's own caches, EasyCache and LazyCache, tuned to compute as many evaluations as a budget pays for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from comfy.patcher_extension import WrappersMP
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode

from tests.bench.demo_models import DemoModel, Sample

NODES = {"EasyCache": EasyCacheNode, "LazyCache": LazyCacheNode}
TUNING = 12


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


def host_cache(name: str, demo: DemoModel, samples: Sequence[Sample], steps: int, k: int) -> tuple[torch.Tensor, float]:
    """Latents of `samples`, and the mean number of evaluations computed: the least of at least k that was found.

    The node's threshold is tuned by bisection on these very samples, over the whole run (start 0, end 1: its defaults
    compute more than k by themselves). A batch is cached as one.
    """
    def run(threshold: float) -> tuple[torch.Tensor, float]:
        model = demo.model.clone()
        model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "bench.keep_input", _keep_input)
        model = NODES[name].execute(model, threshold, 0.0, 1.0, False).args[0]
        counter = _Counter(model)
        try:
            latents = demo.sample(model, samples, steps)
        finally:
            counter.handle.remove()
        return latents, counter.calls / -(-len(samples) // demo.batch)

    low, high = 0.0, 4.0
    best = run(low)
    for _ in range(TUNING):
        middle = (low * high) ** 0.5 if low else high / 64
        found = run(middle)
        if found[1] >= k:
            low = middle
            best = min(best, found, key=lambda pair: pair[1])
        else:
            high = middle
        if best[1] == k:
            break
    return best
