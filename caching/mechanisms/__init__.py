"""Mechanisms: how a cached evaluation is reconstructed from the features of computed ones.

Every mechanism is a weighted sum of stored features: one function from the positions of the stored evaluations to
their weights.
"""

import numpy as np

from .base import Mechanism
from .dicache import DiCache
from .hermite import Hermite
from .l2p import L2P
from .meancache import MeanCache
from .residual import Residual
from .reuse import Reuse
from .taylor import Taylor

CLASSES: dict[str, type[Mechanism]] = {
    "reuse": Reuse, "residual": Residual, "taylor": Taylor, "hermite": Hermite, "dicache": DiCache,
    "meancache": MeanCache, "l2p": L2P}
NAMES = tuple(name for name, each in CLASSES.items() if not each.needs_gram)
"""Mechanisms that an artist can choose; the others come with a policy."""


def class_of(name: str) -> type[Mechanism]:
    """The class of the mechanism called `name`; ValueError if there is none."""
    if name not in CLASSES:
        raise ValueError(f"There is no mechanism '{name}'; choose one of {', '.join(NAMES)}.")
    return CLASSES[name]


def has_order(name: str) -> bool:
    """Whether there is a mechanism called `name` that has an order."""
    return hasattr(CLASSES.get(name), "order")


def make(name: str, order: int = 1, gamma_max: float = 1.5,
         levels: tuple[float, ...] = (), gram: np.ndarray | None = None) -> Mechanism:
    """The mechanism called `name` (one of CLASSES).

    Args:
        order: 1 to 3, of taylor and hermite.
        gamma_max: DiCache's upper bound of gamma.
        levels: MeanCache's noise levels (see Evaluations.levels).
        gram: L2P's inner products (see L2P.gram).

    Raises:
        ValueError: an unknown name, an order outside 1..3, or no gram for a mechanism that needs one.
    """
    if has_order(name) and order not in (1, 2, 3):
        raise ValueError(f"The order of {name} is {order}; choose 1, 2 or 3.")
    if class_of(name).needs_gram and gram is None:
        raise ValueError(f"The mechanism {name} comes with a policy that was trained with it; choose auto instead.")
    arguments = {"taylor": (order,), "hermite": (order,), "dicache": (gamma_max,),
                 "meancache": (levels,), "l2p": (gram,)}
    return class_of(name)(*arguments.get(name, ()))


__all__ = [
    "CLASSES",
    "L2P",
    "NAMES",
    "DiCache",
    "Hermite",
    "MeanCache",
    "Mechanism",
    "Residual",
    "Reuse",
    "Taylor",
    "class_of",
    "has_order",
    "make",
]
