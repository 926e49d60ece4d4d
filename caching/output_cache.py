"""The cache point `output`: the host's predictions for a list of conds."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from .feature_kind import FeatureKind
from .history import NO_HISTORY, Features, Histories, History, NoForecast
from .host_calls import CondBatch

UNKNOWN_CFG = 2.5


def guidance_trend(cfg: float | None, span: float) -> float:
    """The share of its trend that guidance follows in a forecast: 8/5 - 2 (cfg - 1) span, 0 to 1.

    Guidance is the difference between two conds' predictions, which the host multiplies by cfg: so is what a forecast
    gets wrong in it. FasterCache's CFG-Cache (arXiv 2410.19355) repeats it; measured (docs/few-steps.md), that is best
    where (cfg - 1) span is 0.8 or more, and the whole trend up to 0.3: in fine runs and with little guidance.

    Args:
        cfg: scale of the guidance; None if unknown.
        span: from the older of the two features that show the trend to the forecast, as a share of the run.
    """
    return min(1.0, max(0.0, 1.6 - 2.0 * ((UNKNOWN_CFG if cfg is None else cfg) - 1.0) * span))


class OutputCache:
    """Forecasts predictions from features of one kind.

    Args:
        cfg: scale of the guidance; None if unknown.
        positions: number of positions in the run.
    """

    def __init__(self, histories: Histories, kind: FeatureKind, cfg: float | None = None, positions: int = 1):
        self.histories = histories
        self.kind = kind
        self.cfg = cfg
        self.positions = positions

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
        if self.histories.mechanism.extrapolates:
            self._damp_guidance([pair for pair in zip(histories, features) if pair[0] is not None], position)
        return [torch.zeros_like(x) if feature is None
                else feature.mul_(-sigma).add_(x) if self.kind is FeatureKind.DIRECTION else feature
                for feature in features]

    def _damp_guidance(self, forecasts: Sequence[tuple[History, torch.Tensor]], position: int) -> None:
        """Change every forecast but the last, the negative cond's, to F' = g F + (1 - g) (F_last + f - f_last).

        F are the forecasts, f the newest features, g the guidance_trend. All must be of the same evaluations.
        """
        past = {tuple(history.positions[:2]) for history, _ in forecasts}
        if len(forecasts) < 2 or len(past) > 1 or len(newest := past.pop()) < 2:
            return
        trend = guidance_trend(self.cfg, (position - newest[1]) / self.positions)
        last, base = forecasts[-1]
        for history, feature in forecasts[:-1]:
            repeated = history.features[0].to(base.device) - last.features[0].to(base.device)
            feature.lerp_(repeated.add_(base), 1.0 - trend)
