"""Which of several policies fits a run best: ranked by how far the run is from what each was fitted on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from math import log2

from ...caching import AUTO, Reason, RunSettings
from ...caching.mechanisms import has_order
from ...policies.policy_file import PolicyFile
from ...policies.schedule import same_times

_SAME_CFG = 0.01
_MIN_SHARE = 0.4  # of its evaluations: in shorter runs the default is better (bench carried, docs/policies.md)


@dataclass(frozen=True)
class Target:
    """What a policy is wanted for.

    Attributes:
        mechanism, order, cache_point, budget: of the node.
        run: as far as it is known.
    """

    mechanism: str
    order: int
    cache_point: str
    budget: float
    run: RunSettings = field(default_factory=RunSettings)


def best(files: Iterable[tuple[PolicyFile, bool]], target: Target) -> PolicyFile | None:
    """The policy to use, of (policy, whether it is the artist's own) for one model; None if none helps.

    Left out are policies that were validated as no better than no policy at the budget, an artist's own that were
    not validated, and those fitted to far more evaluations than the run has. The rest are ranked by their differences
    from the run, the most important first; then the artist's own, the largest gain and the first come first.
    """
    ranked = []
    for place, (file, own) in enumerate(files):
        gain = file.gain(target.budget)
        if (own if gain is None else gain <= 0.0) or _too_few(len(target.run.times), len(file.policy.times)):
            continue
        unlike = [distance for distance, _ in differences(file, target)]
        ranked.append((unlike, not own, -(gain or 0.0), place, file))
    return min(ranked)[-1] if ranked else None


def differences(file: PolicyFile, target: Target) -> list[tuple[float, Reason | None]]:
    """How far the run is from what a policy was fitted on, most important first, each with its reason.

    0 where they agree or where one of them is not known. The cache point is no reason to be told.
    """
    about, known, run = file.about, file.policy.times, target.run
    mechanism, order = file.mechanism(target.budget)
    ordered = has_order(mechanism)
    as_fitted = (Reason("differs_order", {"mechanism": mechanism, "order": order}) if ordered else
                 Reason("differs_mechanism", {"mechanism": mechanism}))
    other_times = len(run.times) == len(known) and not same_times(run.times, known)
    cfg = 0.0 if run.cfg is None else abs(run.cfg - about.cfg)
    size = sum(map(_octaves, *zip(*zip_longest(run.size, about.size, fillvalue=1)))) if run.size and about.size else 0.0
    return [
        (0.0 if target.mechanism == AUTO else
         2.0 * (mechanism != target.mechanism) + (ordered and order != target.order), as_fitted),
        (float(target.cache_point not in ("auto", about.cache_point)), None),
        (_octaves(len(run.times), len(known)), Reason("differs_evaluations", {"n": len(known)})),
        (float(other_times), _times_reason(file)),
        (float("" not in (run.sampler, about.sampler) and run.sampler != about.sampler),
         Reason("differs_sampler", {"sampler": about.sampler})),
        (cfg if cfg > _SAME_CFG else 0.0, Reason("differs_cfg", {"cfg": f"{about.cfg:g}"})),
        (size, Reason("differs_size", {"size": "x".join(map(str, about.size))})),
    ]


def _times_reason(file: PolicyFile) -> Reason:
    about = file.about
    if about.scheduler in ("", "sigmas"):
        return Reason("differs_times")
    if about.shift:
        return Reason("differs_shift", {"scheduler": about.scheduler, "shift": f"{about.shift:g}"})
    return Reason("differs_scheduler", {"scheduler": about.scheduler})


def _octaves(a: float, b: float) -> float:
    """|log2(a / b)|; 0 where one is not known."""
    return abs(log2(a / b)) if a and b else 0.0


def _too_few(run: int, fitted: int) -> bool:
    """Whether a run, if its evaluations are known, is too short for a schedule to be resampled."""
    return 0 < run < _MIN_SHARE * fitted
