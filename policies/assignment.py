"""Assigns ascending evaluations to ascending positions, as near as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_TIE = 1e-5  # evaluations; sums of squares round to far less


def nearest_in_order(positions: np.ndarray, n: int) -> list[int]:
    """Evaluations i_1 = 0 < i_2 < ... of n, as near as possible to the positions [k] (sum of squares), k <= n.

    Position minus rank must not fall, so the solution is its isotonic regression, rounded (Best and Chakravarti 1990,
    "Active set algorithms for isotonic regression"). It takes linear time; only at halves are there two candidates.
    """
    positions = np.asarray(positions, dtype=float)
    ranks = np.arange(len(positions))
    excess = np.zeros(len(positions))
    excess[1:] = np.clip(_isotonic(positions[1:] - ranks[1:]), 0, n - len(positions))
    low, high = (np.floor(excess + 0.5 + tie).astype(int) + ranks for tie in (-_TIE, _TIE))
    if (low == high).all():
        return low.tolist()
    costs = {0: positions[0] ** 2}
    before = []
    for position, *candidates in zip(positions[1:], low[1:].tolist(), high[1:].tolist()):
        # of equal costs the later evaluation, as in cheapest_in_order
        reached = {c: [e for e in costs if e < c] for c in candidates}
        before.append({c: min(earlier, key=lambda e: (costs[e], -e)) for c, earlier in reached.items() if earlier})
        costs = {c: costs[e] + (position - c) ** 2 for c, e in before[-1].items()}
    return _traced(min(costs, key=costs.get), before)


def cheapest_in_order(costs: Iterable[np.ndarray]) -> list[int]:
    """Columns c_0 = 0 < c_1 < ... < c_{k-1} with the least sum of costs, by dynamic programming.

    Args:
        costs: k rows [n], the cost of each column for every rank; k <= n.
    """
    rows = iter(costs)
    first = next(rows)
    columns = np.arange(len(first), dtype=np.int32)
    best = np.full(len(first), np.inf)
    best[0] = first[0]
    before = []
    for row in rows:
        running = np.minimum.accumulate(best)
        argument = np.maximum.accumulate(np.where(best == running, columns, 0))
        before.append(np.concatenate((columns[:1], argument[:-1])))
        best = row + np.concatenate(([np.inf], running[:-1]))
    return _traced(int(np.argmin(best)), before)


def _traced(last: int, before: Sequence[Mapping[int, int] | np.ndarray]) -> list[int]:
    """The columns that end in `last`, by the best predecessor of every column."""
    chosen = [last]
    for predecessor in reversed(before):
        chosen.append(int(predecessor[chosen[-1]]))
    return chosen[::-1]


def _isotonic(values: np.ndarray) -> np.ndarray:
    """The sequence that never falls and is nearest to `values` [k] (least squares), by pooling adjacent violators."""
    sums: list[float] = []
    sizes: list[int] = []
    for value in values.tolist():
        total, size = value, 1
        while sums and sums[-1] * size >= total * sizes[-1]:
            total += sums.pop()
            size += sizes.pop()
        sums.append(total)
        sizes.append(size)
    return np.repeat(np.array(sums) / np.array(sizes, dtype=int), sizes) if sums else np.zeros(0)
