"""How far guidance, the difference between two conds' predictions, is forecast along its trend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Guidance:
    """The guidance of a run.

    Attributes:
        cfg: its scale; None if unknown.
        positions: number of positions in the run.
    """

    cfg: float | None
    positions: int

    def trend(self, past: Sequence[float], negative: Sequence[float], position: float) -> float:
        """The guidance_trend of a forecast; 1 where two conds' features are not of the same evaluations.

        Args:
            past, negative: positions of a cond's features and of the negative one's, newest first.
        """
        if len(past) < 2 or list(past[:2]) != list(negative[:2]):
            return 1.0
        return guidance_trend(self.cfg, (position - past[1]) / self.positions)
