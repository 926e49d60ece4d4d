"""The cache point `output`: the host's predictions for a list of conds."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .feature_kind import FeatureKind
from .history import NO_HISTORY, Features, Histories, History, NoForecast
from .host_calls import CondBatch

FULL_CFG = 4.0  # from here on guidance is repeated
UNKNOWN_TREND = 0.5


def guidance_trend(cfg: float | None) -> float:
    """The share of its trend that guidance follows in a forecast.

    Guidance is the difference between two conds' predictions, which the host multiplies by cfg: so is what a forecast
    gets wrong in it. FasterCache's CFG-Cache (arXiv 2410.19355) repeats it; measured (docs/few-steps.md), it may follow
    its trend as far as cfg is small.

    Args:
        cfg: scale of the guidance; None if unknown.
    """
    return UNKNOWN_TREND if cfg is None else min(1.0, max(0.0, (FULL_CFG - cfg) / (FULL_CFG - 1.0)))


class OutputCache:
    """Forecasts predictions from features of one kind.

    Args:
        trend: see guidance_trend; 1 forecasts every cond by itself.
    """

    def __init__(self, histories: Histories, kind: FeatureKind, trend: float = 1.0):
        self.histories = histories
        self.kind = kind
        self.trend = trend

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
        features = [None if history is None else history.forecast(position, x.device, base) for history in histories]
        self._damp_guidance([(history, feature) for history, feature in zip(histories, features) if history])
        return [torch.zeros_like(x) if feature is None
                else feature.mul_(-sigma).add_(x) if self.kind is FeatureKind.DIRECTION else feature
                for feature in features]

    def _damp_guidance(self, forecasts: Sequence[tuple[History, torch.Tensor]]) -> None:
        """Change every forecast but the last, the negative cond's, to F' = g F + (1 - g) (F_last + f - f_last).

        F are the forecasts, f the newest features, g the trend. All must be of the same evaluation.
        """
        if self.trend == 1.0 or len({history.positions[0] for history, _ in forecasts}) != 1:
            return
        last, base = forecasts[-1]
        for history, feature in forecasts[:-1]:
            repeated = history.features[0].to(base.device) - last.features[0].to(base.device)
            feature.lerp_(repeated.add_(base), 1.0 - self.trend)
