"""A validator for every metadata field of a policy file, and for its inner products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

MAX_EVALUATIONS = 1024
_MAX_RECORDED = 128
_MAX_SQUARE = 1e6
_ROUNDING = 1e-9
_MAX_BUDGETS = 256
_MAX_CANDIDATES = 16
_MAX_TEXT = 500


def _text(value: Any) -> bool:
    return type(value) is str and len(value) <= _MAX_TEXT and all(c.isprintable() or c == "\n" for c in value)


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high  # which NaN is not


def _list_of(allowed: Callable[[Any], bool], least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and least <= len(value) <= most and all(map(allowed, value))


def _facts(value: Any) -> bool:
    any_number = _number(-1e15, 1e15)
    return (
        type(value) is dict
        and len(value) <= 32
        and all(_text(key) and (_text(fact) or any_number(fact)) for key, fact in value.items())
    )


def _budgets(value: Any) -> bool:
    return _list_of(_whole(1, MAX_EVALUATIONS), 1, _MAX_BUDGETS)(value) and value == sorted(set(value))


def _candidates(value: Any) -> bool:
    return _list_of(_text, 0, _MAX_CANDIDATES)(value) and len(value) == len(set(value))


def _mechanism(value: Any) -> bool:
    return type(value) is list and len(value) == 2 and _text(value[0]) and _whole(1, 3)(value[1])


def is_gram(value: np.ndarray, n: int) -> bool:
    """Whether these can be the mean inner products of n predictions: float64 [n, n], n at most 128.

    They are symmetric and positive semidefinite, with squares of 1e-6 to 1e6, so that least squares can be solved.
    """
    if value.shape != (n, n) or n > _MAX_RECORDED or not np.abs(value).max() <= _MAX_SQUARE:  # which NaN is not
        return False
    squares = value.diagonal()
    if squares.min() < 1.0 / _MAX_SQUARE:
        return False
    cosines = value / np.sqrt(np.outer(squares, squares))
    symmetric = np.abs(cosines - cosines.T).max() <= _ROUNDING
    return bool(symmetric and np.linalg.eigvalsh(cosines).min() >= -_ROUNDING)


FIELDS: dict[str, Callable[[Any], bool]] = {
    "budgets": _budgets,
    "candidates": _candidates,
    "name": _text,
    "pack_version": _text,
    "model_family": _text,
    "mechanism": _text,
    "cache_point": _text,
    "sampler": _text,
    "scheduler": _text,
    "steps": _whole(1, 10_000),
    "cfg": _number(-1000.0, 1000.0),
    "size": _list_of(_whole(1, 1_000_000), 0, 4),
    "reward": _text,
    "shift": lambda value: value is None or _number(0.0, 1000.0)(value),
    "model_identity": _facts,
    "mechanism_options": lambda value: _facts(value) and _whole(1, 3)(value.get("order", 1)),
    "training": _facts,
    "notes": _text,
}
BY_BUDGET: dict[str, Callable[[Any], bool]] = {"mechanisms": _list_of(_mechanism, 1, _MAX_BUDGETS)}
"""The field of policies that have a mechanism, with its order, for each budget."""
