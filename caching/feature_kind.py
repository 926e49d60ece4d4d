"""Which quantity is cached, recorded and forecast at the cache point `output`."""

from __future__ import annotations

from enum import Enum

from .evaluations import Evaluations
from .mechanisms import Mechanism


class FeatureKind(Enum):
    """A function of the model's input x, its denoised prediction and the noise level sigma."""

    DIRECTION = "direction"  # (x - denoised) / sigma: the velocity or noise that the network predicts
    DENOISED = "denoised"
    RESIDUAL = "residual"  # denoised - x


def feature_kind(evaluations: Evaluations, mechanism: Mechanism, cache_point: str = "output") -> FeatureKind:
    """The kind that is forecast at `output`, or recorded to rank schedules for `cache_point`.

    The direction changes more smoothly over a run than the denoised sample, and forecasts better (measured). Where the
    sampler adds noise, the direction contains that noise, so the denoised sample is better. For `blocks`, schedules of
    residual mechanisms are ranked by predictions too: the residual of a block stack says little about denoised - x.
    """
    if mechanism.of_residual and cache_point == "output":
        return FeatureKind.RESIDUAL
    smooth = not evaluations.stochastic and min(evaluations.sigmas, default=0.0) > 0.0
    return FeatureKind.DIRECTION if smooth else FeatureKind.DENOISED
