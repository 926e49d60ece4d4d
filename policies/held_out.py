"""What a policy gave on samples that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class HeldOut:
    """What a policy gave on held-out samples.

    Attributes:
        k: evaluations computed.
        distance: of "policy" or, in older files, of the best candidate.
        other: distance of the schedule `than`: "default", which a run has without a policy; in older files "uniform".
    """

    k: int
    distance: float
    other: float
    than: str

    @property
    def gain(self) -> float:
        """The part of the other's distance that the policy saves, at most 1."""
        return 1.0 - self.distance / self.other


def nearest(validation: Mapping[int, Mapping[str, float]], computed: float) -> HeldOut | None:
    """Of the k nearest to so many computed evaluations; None if no k has a distance to compare with.

    Args:
        validation: {k: {candidate: mean held-out distance}}. "fewer steps" is no candidate of the policy.
    """
    rows = {k: {name: d for name, d in row.items() if name != "fewer steps"} for k, row in validation.items()}
    for than in ("default", "uniform"):
        known = [k for k, row in rows.items() if row.get(than, 0.0) > 0.0]
        if known:
            k = min(known, key=lambda k: abs(k - computed))
            return HeldOut(k, rows[k].get("policy", min(rows[k].values())), rows[k][than], than)
    return None
