"""The cache point `output`: the host's predictions for a list of conds."""

from __future__ import annotations

import torch

from .feature_kind import FeatureKind
from .history import NO_HISTORY, Features, Histories, NoForecast
from .host_calls import CondBatch


class OutputCache:
    """Forecasts predictions from features of one kind."""

    def __init__(self, histories: Histories, kind: FeatureKind):
        self.histories = histories
        self.kind = kind

    def features(self, batch: CondBatch, outs: list[torch.Tensor], sigma: float) -> list[Features]:
        """The features of every active cond, from its computed prediction (denoised, [batch, channels, ...])."""
        x = batch.x
        return [
            Features(key, (x - out) / sigma if self.kind is FeatureKind.DIRECTION else out, x)
            for key, out in zip(batch.keys, outs) if key is not None]

    def forecast(self, batch: CondBatch, position: int, sigma: float) -> list[torch.Tensor]:
        """The predictions, denoised; zeros for a cond that is not active, as the host returns them.

        Raises:
            NoForecast: the batch must be computed.
        """
        x = batch.x
        histories = [None if key is None else self.histories.get(key) for key in batch.keys]
        if not all(key is None or (history is not None and history.fits(x.shape))
                   for key, history in zip(batch.keys, histories)):
            raise NoForecast(NO_HISTORY)
        base = x if self.kind is FeatureKind.RESIDUAL else None
        negative = batch.negative
        features = [None if key is None else self.histories.forecast(key, position, x.device, base, negative=negative)
                    for key in batch.keys]
        return [torch.zeros_like(x) if feature is None
                else feature.mul_(-sigma).add_(x) if self.kind is FeatureKind.DIRECTION else feature
                for feature in features]
