"""The cache point `blocks`: image tokens after the last transformer block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from .block_mapping import Recorder, Skipper, Stack
from .block_probe import NO_BLOCKS, Probed, probe_blocks, split
from .history import NO_HISTORY, Features, Histories, NoForecast
from .host_calls import NetworkCall
from .mechanisms import Mechanism
from .reasons import Reason

Receiver = Callable[[Features], None]


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
        """Compute the first call, and cache calls of its network where its blocks can be skipped."""
        probed = probe_blocks(call, self.mechanism)
        if probed.refusal is None:
            self.use(probed.stack, call.model)
        return probed

    def compute(self, call: NetworkCall, receivers: Sequence[Receiver]) -> torch.Tensor:
        """The network's output; every receiver gets the features of every cond."""
        if call.model is not self.network or not receivers:
            return call.run()

        def record(*tensors) -> None:
            for features in split(call, *tensors):
                for receive in receivers:
                    receive(features)

        recorder = Recorder(call.other_patches, self.stack, self.mechanism.of_residual, self.mechanism.probes, record)
        try:
            return call.run(recorder)
        except NoForecast:
            return call.run()

    def forecast(self, call: NetworkCall, position: int) -> torch.Tensor:
        """The network's output with its blocks skipped.

        Raises:
            NoForecast: the call must be computed.
        """
        if call.model is not self.network:
            raise NoForecast(Reason("second_model"))
        if not all(self.histories.get(key) for key in call.keys):
            raise NoForecast(NO_HISTORY)
        skipper = Skipper(call.other_patches, self.stack, self.mechanism.probes,
                          lambda base, probe: self._forecast_tokens(call, position, base, probe))
        out = call.run(skipper)
        if not skipper.done:
            raise NoForecast(Reason("other_path"))
        return out

    def _forecast_tokens(self, call: NetworkCall, position: int, base: torch.Tensor, probe: torch.Tensor | None
                         ) -> torch.Tensor:
        """The image tokens after the last block."""
        parts = split(call, base, base, probe)
        if not all(self.histories.get(part.key).fits(part.base.shape) for part in parts):
            raise NoForecast(Reason("tokens_changed"))
        of_residual = self.mechanism.of_residual
        images = [
            self.histories.forecast(
                part.key, position, base.device, part.base if of_residual else None, part.probe, negative)
            for part, negative in zip(parts, call.negatives, strict=True)]
        return images[0] if len(images) == 1 else torch.cat(images)
