"""Which policy a run uses: the one that is named, the one that fits the run best, or the one that is connected."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from ...caching import CacheConfig, Reason, RunSettings
from ...caching.mechanisms import CLASSES, class_of
from ...policies.policy_file import PolicyFile, PolicyFileError, load
from . import folders
from .choice import RunChoice
from .one_line import one_line
from .ranking import Target, best, differences

log = logging.getLogger(__name__)

NO_FILE = ("uniform", "list")  # options of the policy input that are not policies


@dataclass(frozen=True)
class PolicyChoice:
    """An artist's choice on a node with a policy.

    Attributes:
        policy, evaluations: as on the node.
        layout: of the model (see model_identity.layout); None if it is not known yet.
        target: what the policy is for, without the run.
        trained: the policy that is connected, which is used instead of `policy`.
        origin: where `policy` comes from, as the workflow states it.
    """

    policy: str
    layout: str | None
    target: Target
    evaluations: str = ""
    trained: PolicyFile | None = None
    origin: str = ""

    def resolve(self, run: RunSettings) -> tuple[PolicyFile | None, Reason | None]:
        """The policy file of a run, or None; and what is missing (see resolve_policy)."""
        if self.trained is not None:
            return self.trained, None
        return resolve_policy(self.policy, self.layout, replace(self.target, run=run), self.origin)

    def for_run(self, config: CacheConfig, run: RunSettings) -> CacheConfig:
        """The configuration of one run, for CacheConfig.for_run."""
        file, missing = self.resolve(run)
        choice = self.choice(file, run)
        mechanism, order = choice.mechanism_for(run.times)
        said = notes(file, self.layout, replace(self.target, run=run), missing)
        return replace(config, schedule=choice.schedule, mechanism=mechanism, order=order,
                       gram=file.gram if file is not None and class_of(mechanism).needs_gram else None,
                       notes=[*said, *filter(None, [choice.remark(run.times)])])

    def choice(self, file: PolicyFile | None, run: RunSettings) -> RunChoice:
        """The choice for a run, with its policy resolved to `file`."""
        listed = self.evaluations if self.policy == "list" else None
        return RunChoice(self.target.budget, file, listed, self.target.mechanism, self.target.order, run)


def resolve_policy(policy: str | None, layout: str | None, target: Target,
                   origin: str = "") -> tuple[PolicyFile | None, Reason | None]:
    """The policy file that `policy` means, or None if it means none; and what is missing, or None.

    None, which a script may send, is "auto". A missing file is no error, as workflows come from other people: the
    policy of "auto" is used, and the reason says so. For `layout` and `origin` see PolicyChoice.

    Raises:
        PolicyFileError: the file exists, but is not a policy.
    """
    policy = "auto" if policy is None else policy
    if policy in NO_FILE:
        return None, None
    if policy != "auto" and folders.policy_path(policy) is not None:
        return load_named(policy), None
    file = best_for(layout, target) if layout else None
    if policy == "auto":
        return file, None
    instead = Reason("instead_uniform") if file is None else Reason("instead_policy", {"name": file.about.name})
    return file, Reason("policy_missing", {
        "policy": one_line(policy), "origin": f" ({origin})" if origin else "", "instead": instead})


def usable(file: PolicyFile, name: str) -> PolicyFile:
    """The file itself.

    Raises:
        PolicyFileError: this pack does not have its mechanism.
    """
    for mechanism, _ in set(file.mechanisms.values()) or {file.mechanism(1.0)}:
        if mechanism not in CLASSES:
            raise PolicyFileError(f"The policy '{one_line(name)}' uses the mechanism '{one_line(mechanism)}', which "
                                  "this ReCache does not have; update the node pack.")
    return file


def load_named(name: str) -> PolicyFile:
    """The policy file that is listed as `name`.

    Raises:
        PolicyFileError: it is gone, not a policy, or not usable.
    """
    found = folders.policy_path(name)
    if found is None:
        raise PolicyFileError(f"The policy '{name[:100]}' is not in models/recache any more; choose another.")
    folder, path = found
    changed = path.stat().st_mtime_ns if path.exists() else 0
    return _loaded(path, folder, changed)


@lru_cache(maxsize=64)
def _loaded(path: Path, folder: Path, changed: int) -> PolicyFile:
    return usable(load(path, folder), path.name)


def best_for(layout: str, target: Target) -> PolicyFile | None:
    """The policy file to use for models of this layout (see ranking.best), or None."""
    return best(_files_for(layout), target)


def displaced(file: PolicyFile, save: Callable[[], None]) -> str | None:
    """Save a policy; the name of one in whose place "auto" uses it from then on, if there is any."""
    before = _chosen_for(file)
    save()
    own = file.about.name
    names = (old for old, new in zip(before, _chosen_for(file)) if new == own and old not in ("", own))
    return next(names, None)


def _chosen_for(file: PolicyFile) -> list[str]:
    """The names of the policies that "auto" uses for runs as `file` was fitted on, one for each of its budgets."""
    about, times = file.about, file.policy.times
    layout = next((value for key, value in about.model_identity.items() if key.startswith("layout")), "")
    run = RunSettings(about.sampler, times, about.cfg, tuple(about.size))
    files = list(_files_for(layout))
    chosen = (best(files, Target(*file.mechanism(k / len(times)), about.cache_point, k / len(times), run))
              for k in file.policy.budgets)
    return ["" if found is None else found.about.name for found in chosen]


def _files_for(layout: str) -> Iterator[tuple[PolicyFile, bool]]:
    """The policy files for models of this layout, each with whether it is the artist's own."""
    for name in sorted(folders.policy_names()):
        try:
            file = load_named(name)
        except PolicyFileError as error:
            _warn(str(error))
            continue
        found = folders.policy_path(name)
        if found is not None and fits(file, layout):
            yield file, found[0] != folders.SHIPPED


@lru_cache(maxsize=64)
def _warn(sentence: str) -> None:
    """Log a sentence once, not with every plan."""
    log.warning("ReCache: %s", sentence)


def fits(file: PolicyFile, layout: str | None) -> bool:
    """Whether a policy was fitted on a model of this layout (see model_identity.layout)."""
    return any(key.startswith("layout") and value == layout for key, value in file.about.model_identity.items())


def notes(file: PolicyFile | None, layout: str | None, target: Target, missing: Reason | None = None) -> list[Reason]:
    """A run's notes on its policy: one that is missing, the one in use, and what differs from what it was fitted on.

    Args:
        layout: of the model (see model_identity.layout). missing: see resolve_policy.
    """
    said = [missing] if missing else []
    if file is None:
        return said
    differs = [] if fits(file, layout) else [Reason("differs_model", {"family": file.about.model_family})]
    differs += [reason for distance, reason in differences(file, target) if distance and reason]
    name = file.about.name
    return [*said, Reason("policy_carried", {"name": name, "differs": differs}) if differs else
            Reason("policy_fitted", {"name": name})]


def cache_token(policy: str | None) -> str:
    """Changes when the chosen file changes, so that ComfyUI does not reuse the node's cached output.

    None: the name comes from another node.
    """
    if policy in NO_FILE:
        return ""
    found = [folders.policy_path(policy)] if policy not in (None, "auto") else []
    if not any(found):  # auto chooses
        found = [folders.policy_path(name) for name in folders.policy_names()]
    return repr([(str(path), path.stat().st_mtime_ns) for _, path in filter(None, found)])
