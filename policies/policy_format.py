"""The format of policy files: tensors, and JSON about what the policy was fitted on, in one .safetensors.

Layout (format version 1): tensors `logits` [K, n - 1] F32, `times` [n] F64 and `validation` [K, C] F32, and the
metadata strings `recache` (the JSON of `About` with `format_version`, `budgets` and `candidates`) and `sha256` (over
that string and the tensors). Version 2 has one more tensor, `gram` [n, n] F64; version 3 may have it, and has one more
entry of that JSON, `mechanisms`. A policy is written in the lowest version that holds it. Decoding never runs code; an
error is one sentence.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import safetensors.numpy

from .held_out import HeldOut, nearest
from .policy import Policy
from .policy_fields import BY_BUDGET, FIELDS, MAX_EVALUATIONS, is_gram

FORMAT_VERSION = 3
MAX_BYTES = 4 * 2**20
_MAX_HEADER = 2**18
_MAX_LOGIT = 1e6
_MAX_TIME = 1e6
_DTYPES = {"logits": np.dtype("<f4"), "times": np.dtype("<f8"), "validation": np.dtype("<f4")}
_WITH_GRAM = _DTYPES | {"gram": np.dtype("<f8")}


class PolicyFileError(ValueError):
    """A policy file that can't be used; the message is one sentence for the artist and names the file."""


@dataclass(frozen=True)
class About:
    """What a policy was fitted on. Texts are at most 500 characters; numbers are finite.

    Attributes:
        name: shown to artists. pack_version: of the pack that wrote the file.
        model_family: such as "flux". model_identity: what else identifies the model: at most 32 texts and numbers.
        mechanism, cache_point: as on the Budget node. mechanism_options: such as {"order": 1}.
        sampler, scheduler: names. steps: 1..10000. shift: 0..1000 or None where there is none. cfg: -1000..1000.
        size: of the output, such as [width, height] or [width, height, frames]; each 1..1000000.
        reward: the metric of selection and validation, such as "latent RMSE".
        training: such as {"learned by": "latent RMSE", "samples": 8, "seconds": 340.0}: at most 32 texts and numbers.
        notes: where it comes from, licence, warnings.
    """

    name: str
    pack_version: str
    model_family: str
    mechanism: str
    cache_point: str
    sampler: str
    scheduler: str
    steps: int
    cfg: float
    size: list[int]
    reward: str
    shift: float | None = None
    model_identity: dict[str, str | int | float] = field(default_factory=dict)
    mechanism_options: dict[str, str | int | float] = field(default_factory=dict)
    training: dict[str, str | int | float] = field(default_factory=dict)
    notes: str = ""


@dataclass(frozen=True, eq=False)
class PolicyFile:
    """A policy, what it was fitted on, and its results on held-out samples.

    Attributes:
        validation: {k: {candidate: mean held-out distance}}: the same candidates (learned, default, ...) for every
            budget of the policy, possibly none; "policy" is the one that the policy holds.
        gram: mean inner products of the n predictions of recorded runs, float64 (see policy_fields.is_gram), for a
            mechanism that forecasts from them; else None.
        mechanisms: {k: (mechanism, order)} of every budget, where they are not all `about`'s; else {}.
    """

    policy: Policy
    about: About
    validation: dict[int, dict[str, float]] = field(default_factory=dict)
    gram: np.ndarray | None = None
    mechanisms: dict[int, tuple[str, int]] = field(default_factory=dict)

    def mechanism(self, share: float) -> tuple[str, int]:
        """Mechanism and order at a share of the evaluations: those of the nearest budget, of two the smaller one's."""
        if not self.mechanisms:
            return self.about.mechanism, self.about.mechanism_options.get("order", 1)
        return self.mechanisms[min(self.mechanisms, key=lambda k: abs(k - share * self.policy.n))]

    def expected(self, share: float) -> HeldOut | None:
        """What the policy gave at the validated k nearest to a share of the evaluations; None without any."""
        return nearest(self.validation, share * self.policy.n)

    def gain(self, share: float) -> float | None:
        """`HeldOut.gain` there; None if not validated."""
        expected = self.expected(share)
        return expected and expected.gain


def encode(file: PolicyFile, name: str) -> bytes:
    """The bytes of a policy file; `name` is for errors.

    Raises:
        PolicyFileError: something is not within the limits of the format.
    """
    policy, budgets = file.policy, list(file.policy.budgets)
    candidates = sorted({name for row in file.validation.values() for name in row})
    if candidates and any(sorted(file.validation.get(k, {})) != candidates for k in budgets):
        raise wrong(name, "can't be saved, because its validation table lacks cells")
    table = [[file.validation[k][name] for name in candidates] for k in budgets] if candidates else []
    tensors = {
        "logits": np.ascontiguousarray(policy.logits, dtype=np.float32),
        "times": np.array(policy.times, dtype=np.float64),
        "validation": np.array(table, dtype=np.float32).reshape(len(budgets), len(candidates)),
    }
    if file.gram is not None:
        tensors["gram"] = np.ascontiguousarray(file.gram, dtype=np.float64)
    version = 3 if file.mechanisms else 1 if file.gram is None else 2
    about = {"format_version": version, "budgets": budgets, "candidates": candidates, **asdict(file.about)}
    if file.mechanisms:
        if sorted(file.mechanisms) != budgets:
            raise wrong(name, "can't be saved, because its mechanisms are not those of its budgets")
        about["mechanisms"] = [file.mechanisms[k] for k in budgets]
    try:
        text = json.dumps(about, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise wrong(
            name, "can't be saved, because what is said about it is not plain text and numbers"
        ) from error
    return safetensors.numpy.save(tensors, {"recache": text, "sha256": _checksum(text, tensors)})


def decode(content: bytes, name: str) -> PolicyFile:
    """The policy file of these bytes.

    Raises:
        PolicyFileError: anything that is not a whole, unchanged, plausible policy file of a known format version.
    """
    metadata = _metadata(content, name)
    text = metadata.get("recache")
    if not isinstance(text, str):
        raise wrong(name, "is a model file, but not a ReCache policy; choose another")
    about = _json(text, name)
    version = about.get("format_version") if isinstance(about, dict) else None
    if type(version) is not int or version < 1:
        raise wrong(name, "does not say its format; save the policy again")
    if version > FORMAT_VERSION:
        raise wrong(name, "was made by a newer ReCache; update the node pack to use it")
    try:
        tensors = safetensors.numpy.load(content)
    except Exception as error:  # the library raises several kinds, one of its own among them
        raise wrong(name, "is damaged or cut off; copy or download it again") from error
    allowed = {1: (_DTYPES,), 2: (_WITH_GRAM,), 3: (_DTYPES, _WITH_GRAM)}[version]
    if {key: value.dtype for key, value in tensors.items()} not in allowed:
        raise wrong(name, "does not hold the numbers of a policy; save the policy again")
    if metadata.get("sha256") != _checksum(text, tensors):
        raise wrong(name, "is damaged, its checksum is wrong; copy or download it again")
    return _checked(about, tensors, name)


def _metadata(content: bytes, name: str) -> dict[str, Any]:
    size = int.from_bytes(content[:8], "little")
    if len(content) < 8 or len(content) > MAX_BYTES or not 2 <= size <= min(_MAX_HEADER, len(content) - 8):
        raise wrong(name, "is not a policy file, or is cut off; copy it again or choose another")
    try:
        header = _json(content[8 : 8 + size].decode("utf-8"), name)
    except UnicodeDecodeError as error:
        raise wrong(name, "is not a policy file, or is damaged; copy it again or choose another") from error
    metadata = header.get("__metadata__", {}) if isinstance(header, dict) else {}
    return metadata if isinstance(metadata, dict) else {}


def _json(text: str, name: str) -> Any:
    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise wrong(name, "is not a policy file, or is damaged; copy it again or choose another") from error


def _checked(about: dict[str, Any], tensors: dict[str, np.ndarray], name: str) -> PolicyFile:
    fields = FIELDS | BY_BUDGET if about["format_version"] == 3 else FIELDS
    known = {"format_version", *fields}
    if set(about) != known:
        odd = sorted(set(about) ^ known)[0]
        raise wrong(name, f"has missing or unknown information ('{odd[:40]}'); save the policy again")
    for key, allowed in fields.items():
        if not allowed(about[key]):
            raise wrong(name, f"has impossible information about its {key.replace('_', ' ')}; save the policy again")
    logits, times, validation = tensors["logits"], tensors["times"], tensors["validation"]
    budgets, candidates = about["budgets"], about["candidates"]
    mechanisms = about.get("mechanisms", [])
    n = times.size
    if (
        times.ndim != 1
        or not 1 <= n <= MAX_EVALUATIONS
        or logits.shape != (len(budgets), n - 1)
        or validation.shape != (len(budgets), len(candidates))
        or budgets[-1] > n
        or len(mechanisms) not in (0, len(budgets))
    ):
        raise wrong(name, "has tables of impossible sizes; save the policy again")
    if not all(np.isfinite(values).all() for values in tensors.values()):
        raise wrong(name, "has numbers that are not finite; train or download the policy again")
    if np.abs(logits).max(initial=0.0) > _MAX_LOGIT or np.abs(times).max() > _MAX_TIME:
        raise wrong(name, "has impossibly large numbers; train or download the policy again")
    gram = tensors.get("gram")
    if gram is not None and not is_gram(gram, n):
        raise wrong(name, "has a table that no recorded run can have; train or download the policy again")
    policy = Policy(tuple(budgets), logits.copy(), tuple(times.tolist()))
    table = {k: dict(zip(candidates, row)) for k, row in zip(budgets, validation.tolist())} if candidates else {}
    stated = {key: value for key, value in about.items()
              if key not in ("format_version", "budgets", "candidates", "mechanisms")}
    by_budget = dict(zip(budgets, map(tuple, mechanisms)))
    return PolicyFile(policy, About(**stated), table, None if gram is None else gram.copy(), by_budget)


def _checksum(text: str, tensors: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype.str} {tensors[key].shape}".encode())
        digest.update(tensors[key].tobytes())
    return digest.hexdigest()


def wrong(name: str | os.PathLike, what: str) -> PolicyFileError:
    """The error that the policy called `name` is or has `what`."""
    shown = "".join(c if c.isprintable() else "?" for c in str(name))
    return PolicyFileError(f"The policy '{shown if len(shown) <= 100 else shown[:100] + '...'}' {what}.")
