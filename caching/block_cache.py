"""The cache point `blocks`: image tokens after the last transformer block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import comfy.model_management
import torch
from torch._dynamo import OptimizedModule

from .block_mapping import BlockProbe, Recorder, Skipper, Stack
from .flops import FlopMeter
from .history import Features, Histories, NoForecast
from .host_calls import NetworkCall
from .mechanisms import Mechanism
from .memory import OutOfMemory, is_out_of_memory
from .reasons import Reason

Receiver = Callable[[Features], None]
NO_BLOCKS = Stack(())


def is_compiled(module) -> bool:
    """Whether torch.compile made this module."""
    return isinstance(module, OptimizedModule)


def split(call: NetworkCall, image: torch.Tensor, base: torch.Tensor | None, probe: torch.Tensor | None
          ) -> list[Features]:
    """The features of every cond in a call's batch."""
    n = len(call.keys)
    bases = [None] * n if base is None else base.chunk(n)
    probes = [None] * n if probe is None else probe.chunk(n)
    return list(map(Features, call.keys, image.chunk(n), bases, probes))


@dataclass(frozen=True)
class Probed:
    """What probing the first computed call found.

    Attributes:
        out: the network's output.
        refusal: why blocks can't be the cache point, or None.
        stack: the blocks; empty if refused.
        features: of the call; empty if refused.
        cached_cost: cost of a cached evaluation, as a share of a computed one.
    """

    out: torch.Tensor
    refusal: Reason | None
    stack: Stack = NO_BLOCKS
    features: Sequence[Features] = ()
    cached_cost: float = 0.0


def probe_blocks(call: NetworkCall, mechanism: Mechanism) -> Probed:
    """Compute a call, and find out whether its blocks can be skipped.

    Raises:
        OutOfMemory: the call must be computed without the probe.
    """
    # compiled blocks can't run under a dispatch mode
    meter = None if any(map(is_compiled, call.model.diffusion_model.modules())) else FlopMeter()
    probe = BlockProbe(call.other_patches, mechanism.of_residual, mechanism.probes, meter)
    failure = ""
    try:
        with meter or nullcontext():
            out = call.run(probe)
    except (OutOfMemory, comfy.model_management.InterruptProcessingException):
        raise
    except Exception as error:
        if not probe.called or is_out_of_memory(error):
            raise
        failure = str(error) or type(error).__name__
    if failure:  # a model whose path for replaced blocks is broken has a plain one
        return Probed(call.run(), Reason("blocks_failed", {"error": failure}))
    if probe.refusal is not None:
        return Probed(out, probe.refusal)
    if not probe.keys:
        return Probed(out, Reason("no_blocks"))
    if probe.output.shape[0] % len(call.keys):
        return Probed(out, Reason("blocks_other_batch"))
    if {key[0] for key in probe.keys} & set(call.options.get("patches", {})):
        return Probed(out, Reason("tokens_patched"))
    stack = probe.stack()
    features = split(call, stack.image_tokens(probe.output, probe.tokens), probe.base, probe.probe)
    return Probed(out, None, stack, features, stack.cached_cost + (stack.probe_cost if mechanism.probes else 0.0))


class BlockCache:
    """Computes and forecasts calls of one network.

    Attributes:
        stack: of the network's blocks.
        network: the host's model; calls of another one are always computed. None until its blocks are known.
    """

    def __init__(self, histories: Histories, mechanism: Mechanism):
        self.histories = histories
        self.mechanism = mechanism
        self.stack, self.network = NO_BLOCKS, None

    def use(self, stack: Stack, network) -> None:
        """Cache calls of this network."""
        self.stack, self.network = stack, network

    def probe(self, call: NetworkCall) -> Probed:
        """Compute the first call, and cache calls of its network where its blocks can be skipped.

        Raises:
            OutOfMemory: the call must be computed without the probe.
        """
        probed = probe_blocks(call, self.mechanism)
        if probed.refusal is None:
            self.use(probed.stack, call.model)
        return probed

    def compute(self, call: NetworkCall, receivers: Sequence[Receiver]) -> torch.Tensor:
        """The network's output; every receiver gets the features of every cond.

        Raises:
            OutOfMemory: the call must be computed without receivers.
        """
        if call.model is not self.network or not receivers:
            return call.run()

        def record(*tensors) -> None:
            for features in split(call, *tensors):
                for receive in receivers:
                    receive(features)

        return call.run(Recorder(call.other_patches, self.stack, self.mechanism.of_residual, self.mechanism.probes,
                                 record))

    def forecast(self, call: NetworkCall, position: int) -> torch.Tensor:
        """The network's output with its blocks skipped.

        Raises:
            NoForecast: the call must be computed.
            OutOfMemory: likewise.
        """
        if call.model is not self.network:
            raise NoForecast(Reason("second_model"))
        if not all(self.histories.get(key) for key in call.keys):
            raise NoForecast(Reason("no_history"))
        skipper = Skipper(call.other_patches, self.stack, self.mechanism.probes,
                          lambda base, probe: self._forecast_tokens(call, position, base, probe))
        out = call.run(skipper, skips=True)
        if not skipper.done:
            raise NoForecast(Reason("other_path"))
        return out

    def _forecast_tokens(self, call: NetworkCall, position: int, base: torch.Tensor, probe: torch.Tensor | None
                         ) -> torch.Tensor:
        """The image tokens after the last block."""
        parts = split(call, base, base, probe)
        if not all(self.histories.get(part.key).fits(part.base.shape) for part in parts):
            raise NoForecast(Reason("tokens_changed"))
        images = [
            self.histories.get(part.key).forecast(
                position, base.device, part.base if self.mechanism.of_residual else None, part.probe)
            for part in parts]
        return images[0] if len(images) == 1 else torch.cat(images)
