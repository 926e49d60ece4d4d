"""Which policy ReCache Budget uses: by name, the one that fits the model best, or one that is connected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

from ...caching import Reason, model_identity
from ...policies.budget import computed_for_budget
from ...policies.default_schedule import default_schedule
from ...policies.policy import Policy
from ...policies.policy_file import About, PolicyFile, PolicyFileError, load
from ...policies.schedule import Schedule, ScheduleError, same_times
from ...policies.uniform import uniform
from ..server.page import one_line
from . import folders

log = logging.getLogger(__name__)

NO_FILE = ("uniform", "list")  # choices of the picker that are no policies learned
Choose = Callable[[int, tuple[float, ...]], Schedule]


def budget_schedule(budget: float, choose: Choose) -> Callable[[Sequence[float], float], tuple[bool, ...]]:
    """The schedule of a budget, for the engine; `choose` gives the schedule of k evaluations at these times."""
    def schedule(times: Sequence[float], cached_cost: float) -> tuple[bool, ...]:
        n = len(times)
        if cached_cost and 1.0 + (n - 1) * cached_cost > budget * n >= 1.0:
            raise ScheduleError(f"cached evaluations that cost {cached_cost:.0%} of a computed one exceed the budget")
        return choose(computed_for_budget(budget, n, cached_cost), tuple(times)).computed
    return schedule


def evenly(k: int, times: tuple[float, ...]) -> Schedule:
    """The schedule without a policy; where times repeat, as Heun's do, the rules were not measured."""
    return (default_schedule if len(set(times)) == len(times) else uniform)(len(times), k)


def by_policy(policy: Policy) -> Choose:
    """A trained policy's schedules."""
    return lambda k, times: policy.schedule(k, _snapped(times, policy.times))


def _snapped(times: tuple[float, ...], known: tuple[float, ...]) -> tuple[float, ...]:
    """`times`, where they are those the policy knows but for rounding: just those."""
    if same_times(times, known):
        return known
    return (known[0], *times[1:]) if same_times(times[:1], known[:1]) else times


def resolve_policy(policy: str | None, layout: str | None, mechanism: str, order: int, cache_point: str,
                   origin: str = "") -> tuple[PolicyFile | None, Reason | None]:
    """The policy file that the picker's `policy` stands for, or None where it stands for none; and what is missing.

    None, which a script may send, is "auto". A file that is missing, as when a workflow comes from somebody else, is
    no error: what "auto" would take is used, and the reason says so. `origin` is what the workflow tells of where the
    policy comes from; `layout` the model's (see model_identity.layout), None where it is not known yet.

    Raises:
        PolicyFileError: the file is there, but is no policy.
    """
    policy = policy or "auto"
    if policy in NO_FILE:
        return None, None
    if policy != "auto" and folders.policy_path(policy) is not None:
        return load_named(policy), None
    file = best_for(layout, mechanism, order, cache_point) if layout else None
    if policy == "auto":
        return file, None
    instead = Reason("instead_uniform") if file is None else Reason("instead_policy", {"name": file.about.name})
    return file, Reason("policy_missing", {
        "policy": one_line(policy), "origin": f" ({origin})" if origin else "", "instead": instead})


def load_named(name: str) -> PolicyFile:
    """The policy file that the picker lists as `name`.

    Raises:
        PolicyFileError: it is gone, or no policy.
    """
    found = folders.policy_path(name)
    if found is None:
        raise PolicyFileError(f"The policy '{name[:100]}' is not in models/recache any more; choose another.")
    folder, path = found
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _loaded(path, folder, changed)


@lru_cache(maxsize=64)
def _loaded(path: Path, folder: Path, changed: int) -> PolicyFile:
    return load(path, folder)


def best_for(layout: str, mechanism: str, order: int, cache_point: str) -> PolicyFile | None:
    """Of the policy files for models of this layout the one fitted to the most alike caching.

    An artist's own come before the pack's; None where there is none.
    """
    best: tuple[tuple, PolicyFile] | None = None
    for place, name in enumerate(sorted(folders.policy_names())):
        try:
            file = load_named(name)
        except PolicyFileError as error:
            _warn(str(error))
            continue
        if not fits(file, layout):
            continue
        about = file.about
        unlike = (
            about.mechanism != mechanism,
            about.mechanism_options.get("order", order) != order,
            cache_point not in ("auto", about.cache_point),
            folders.policy_path(name)[0] == folders.SHIPPED,
            place)
        if best is None or unlike < best[0]:
            best = unlike, file
    return best and best[1]


@lru_cache(maxsize=64)
def _warn(sentence: str) -> None:
    """Log it once, not with every plan."""
    log.warning("ReCache: %s", sentence)


def fits(file: PolicyFile, layout: str) -> bool:
    """Whether a policy was fitted on a model of this layout (see model_identity.layout)."""
    return any(key.startswith("layout") and value == layout for key, value in file.about.model_identity.items())


def remarks(file: PolicyFile | None, layout: str, mechanism: str, order: int,
            missing: Reason | None = None) -> Callable[..., list[Reason]]:
    """What a run's report says of the policy: one that is missing, the one in use, and how its own settings differ.

    Args:
        layout: of the model (see model_identity.layout). missing: see resolve_policy.
    """
    if file is None:
        return lambda guider, sampler, noise, times: [missing] if missing else []
    about, known = file.about, file.policy.times
    fixed = [] if fits(file, layout) else [
        Reason("differs_model", {"family": about.model_family})]
    fixed += _differing_mechanism(about, mechanism, order)

    def compared(guider, sampler, noise, times) -> list[Reason]:
        differs = [*fixed, *_differing_run(about, known, guider, sampler, noise, times)]
        fitted = (Reason("policy_carried", {"name": about.name, "differs": differs}) if differs else
                  Reason("policy_fitted", {"name": about.name}))
        return [missing, fitted] if missing else [fitted]

    return compared


def _differing_mechanism(about: About, mechanism: str, order: int) -> list[Reason]:
    fitted = about.mechanism_options.get("order")
    if about.mechanism == mechanism and fitted in (None, order):
        return []
    if fitted is None:
        return [Reason("differs_mechanism", {"mechanism": about.mechanism})]
    return [Reason("differs_order", {"mechanism": about.mechanism, "order": fitted})]


def _differing_run(about: About, known: Sequence[float], guider, sampler, noise,
                   times: Sequence[float]) -> list[Reason]:
    differs = []
    if about.sampler and model_identity.sampler_name(sampler) != about.sampler:
        differs.append(Reason("differs_sampler", {"sampler": about.sampler}))
    if len(times) != len(known):
        differs.append(Reason("differs_evaluations", {"n": len(known)}))
    elif not same_times(times, known):
        if about.scheduler in ("", "sigmas"):
            differs.append(Reason("differs_times"))
        elif about.shift:
            differs.append(Reason("differs_shift", {"scheduler": about.scheduler, "shift": f"{about.shift:g}"}))
        else:
            differs.append(Reason("differs_scheduler", {"scheduler": about.scheduler}))
    cfg = getattr(guider, "cfg", None)
    if cfg is not None and abs(cfg - about.cfg) > 0.01:
        differs.append(Reason("differs_cfg", {"cfg": f"{about.cfg:g}"}))
    if about.size and about.size != model_identity.size_of(guider.model_patcher, tuple(noise.shape)):
        differs.append(Reason("differs_size", {"size": "x".join(map(str, about.size))}))
    return differs


def cache_token(policy: str | None) -> str:
    """Changes when the file that is picked changes, so that ComfyUI does not keep what an older one gave.

    None is a name that another node gives.
    """
    if policy in NO_FILE:
        return ""
    found = [folders.policy_path(policy)] if policy not in (None, "auto") else []
    if not any(found):  # auto chooses
        found = [folders.policy_path(name) for name in folders.policy_names()]
    return repr([(str(path), path.stat().st_mtime_ns) for _, path in filter(None, found)])
