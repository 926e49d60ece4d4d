"""How close to the uncached picture a run comes, in words that hold for nine of ten pictures (docs/few-steps.md)."""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log

# ST-LPIPS (arXiv 2207.13686) to the uncached picture up to which a word holds; beyond the last the picture is "broken".
THRESHOLDS = {"same": 0.001, "details": 0.02, "another": 0.15}
WORDS = (*THRESHOLDS, "broken")
# The same of the budgets to choose from.
PRESETS = {"draft": THRESHOLDS["another"], "fast": THRESHOLDS["details"], "balanced": 0.005, "safe": THRESHOLDS["same"]}

# {evaluations: {computed: the ST-LPIPS that nine of ten pictures stay below}}, of the default schedule and mechanism on
# the demo model that comes out worst; `bench few_steps`, st_lpips_q90.
_MEASURED = {
    4: {1: 0.53, 2: 0.164, 3: 0.102},
    6: {1: 0.53, 2: 0.179, 3: 0.177, 4: 0.0272, 5: 0.0070},
    8: {1: 0.53, 2: 0.191, 3: 0.156, 4: 0.0744, 5: 0.0166, 6: 0.0064, 7: 0.0022},
    12: {1: 0.53, 4: 0.0798, 6: 0.0133, 8: 0.0022, 10: 0.00090, 11: 0.00045},
    20: {1: 0.53, 4: 0.0929, 6: 0.0262, 10: 0.0021, 14: 0.00030, 18: 0.00012, 19: 0.00006},
    30: {1: 0.53, 3: 0.187, 5: 0.0919, 8: 0.0123, 10: 0.0027, 15: 0.00025, 20: 0.00011, 27: 0.00004},
    50: {1: 0.53, 3: 0.188, 5: 0.1005, 7: 0.0189, 9: 0.0037, 13: 0.0018, 20: 0.00017, 30: 0.00003, 45: 0.00001},
}


def word_of(distance: float) -> str:
    """The first of WORDS that holds at this ST-LPIPS."""
    return next((word for word, most in THRESHOLDS.items() if distance <= most), WORDS[-1])


def expected_distance(n: int, k: int) -> float:
    """The ST-LPIPS that nine of ten pictures stay below, k of n evaluations computed by the default rules.

    At an n that was not measured the worse of the numbers beside it. On other models than the demo models it is a
    guess: what it depends on most, how many evaluations are computed, they have in common.
    """
    lengths = sorted(_MEASURED)
    below = max([length for length in lengths if length <= n] or lengths[:1])
    above = min([length for length in lengths if length >= n] or lengths[-1:])
    return max(_at(_MEASURED[length], k) for length in (below, above))


def presets(n: int) -> dict[str, int]:
    """{one of PRESETS: the fewest computed evaluations, of n, that keep to it}."""
    def fewest(most: float) -> int:
        return next((k for k in range(1, n) if expected_distance(n, k) <= most), n)

    return {name: fewest(most) for name, most in PRESETS.items()}


def _at(measured: dict[int, float], k: int) -> float:
    """Interpolated between the measured k, linear in the logarithms; outside them the nearest one's."""
    ks: Sequence[int] = sorted(measured)
    before = max([known for known in ks if known <= k] or ks[:1])
    after = min([known for known in ks if known >= k] or ks[-1:])
    share = 0.0 if before == after else log(k / before) / log(after / before)
    return exp((1.0 - share) * log(measured[before]) + share * log(measured[after]))
