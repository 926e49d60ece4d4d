"""The best schedule under recorded open-loop costs, exactly and in milliseconds (after DPCache, arXiv 2602.22654)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..schedule import Schedule, ScheduleError, check_k, from_indices


def solve(cost: np.ndarray, ks: Iterable[int], times: tuple[float, ...] | None = None) -> dict[int, Schedule]:
    """For every k the schedule with the least sum of segment costs, of all that compute k of n evaluations.

    Args:
        cost: cost[i, j, m], [n, n + 1, n + 1] or [n, n, n + 1]: the summed error of the evaluations between computed
            evaluations j and m (m = n: the end), forecast from j and i, the computed one before j (i = j = 0: none). At
            least 0; +inf where not measured.
        ks: the k wanted, each in 1..n. times: stored in the schedules.

    Returns:
        {k: schedule}, without the k for which every schedule has a segment that was not measured.

    Raises:
        ScheduleError: a cost array of another shape, a NaN, a negative cost, or a k outside 1..n.
    """
    n, ks = len(cost), sorted(set(ks))
    if cost.ndim != 3 or cost.shape[1] not in (n, n + 1) or cost.shape[2] != n + 1:
        raise ScheduleError(f"Recorded costs have the shape [n, n + 1, n + 1], not {list(cost.shape)}.")
    if not (cost >= 0).all():
        raise ScheduleError("Recorded costs must be at least 0 and not NaN; record the run again.")
    for k in ks:
        check_k(k, n)
    segment = cost[:, :n, :].astype(np.float64)
    total = np.full((n, n), np.inf)  # total[i, j]: the least cost up to j, where i and j are the last two computed
    total[0, 0] = 0.0
    before: list[np.ndarray] = []  # before[c][j, m]: the best i where m is computed evaluation number c + 1
    best: dict[int, Schedule] = {}
    for k in range(1, ks[-1] + 1 if ks else 0):
        if k in ks:
            ends = total + segment[:, :, n]
            i, j = np.unravel_index(np.argmin(ends), ends.shape)
            if np.isfinite(ends[i, j]):
                best[k] = from_indices(_walk_back(before, int(i), int(j)), n, times)
        through = total[:, :, None] + segment[:, :, :n]  # [i, j, m]
        before.append(through.argmin(0))
        total = through.min(0)
        total[np.tril_indices(n)] = np.inf  # m comes after j
    return best


def _walk_back(before: list[np.ndarray], i: int, j: int) -> set[int]:
    computed = {j}
    for choice in reversed(before):
        computed.add(i)
        i, j = int(choice[i, j]), i
    return computed
