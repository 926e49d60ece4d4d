"""The schedule and the mechanism of a run without a policy."""

from __future__ import annotations

from .schedule import Schedule, from_indices


def default_schedule(n: int, k: int) -> Schedule:
    gaps = max(1, k - 1)
    return from_indices([(2 * i * (n - 1) + gaps) // (2 * gaps) for i in range(k)], n)


def default_mechanism(n: int, k: int) -> tuple[str, int]:
    return "taylor", 1
