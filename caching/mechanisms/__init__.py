"""Mechanisms: how a cached evaluation is reconstructed from the features of computed ones.

Every mechanism is a weighted sum of stored features: one function from the positions of the stored evaluations to
their weights.
"""

from .base import Mechanism
from .dicache import DiCache
from .hermite import Hermite
from .meancache import MeanCache
from .residual import Residual
from .reuse import Reuse
from .taylor import Taylor

NAMES = ("reuse", "residual", "taylor", "hermite", "dicache", "meancache")


def make(name: str, order: int = 1, hermite_sigma: float = 0.5, gamma_max: float = 1.5,
         levels: tuple[float, ...] = ()) -> Mechanism:
    """The mechanism called `name` (one of NAMES).

    Args:
        order: 1 to 3, of taylor and hermite.
        hermite_sigma: contraction of the Hermite polynomials, 0.5 to 0.71 in the paper.
        gamma_max: DiCache's upper bound of gamma.
        levels: MeanCache's noise levels (see Evaluations.levels).

    Raises:
        ValueError: an unknown name or an order outside 1..3.
    """
    if name in ("taylor", "hermite") and order not in (1, 2, 3):
        raise ValueError(f"The order of {name} is {order}; choose 1, 2 or 3.")
    makers = {
        "reuse": Reuse,
        "residual": Residual,
        "taylor": lambda: Taylor(order),
        "hermite": lambda: Hermite(order, hermite_sigma),
        "dicache": lambda: DiCache(gamma_max),
        "meancache": lambda: MeanCache(levels),
    }
    if name not in makers:
        raise ValueError(f"There is no mechanism '{name}'; choose one of {', '.join(NAMES)}.")
    return makers[name]()


__all__ = ["NAMES", "DiCache", "Hermite", "MeanCache", "Mechanism", "Residual", "Reuse", "Taylor", "make"]
