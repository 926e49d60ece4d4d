"""Hostile values from a seeded generator: huge, deep, of the wrong type, or valid but for one thing."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

ODD = (
    None, True, False, -1, 0, 1, 3, 2**31, 2**63, -(2**70), 10**400, 1e308, -0.0, 5e-324, 0.3, 1.5, "", "x", "x" * 3000,
    "\ud800", "\x00", "\x1b[31m", "\u202e", "../../x", "C:\\x", "NaN", "1e999", "0-99", [], {}, [[]], [None] * 50,
    {"a": None}, {"": {}}, [1, "x", {}])
EXPRESSIONS = (
    "a + b", "1 / 0", "9 ** 9 ** 9", "3000000 ** 3000000", "pow(pow(9, 4000), 4000)", "round(5, -30000000)",
    "1 << 4000000", "(" * 900, "-" * 1500 + "1", "sum(values)", "a" * 1000, "'x' * 90000", "min()", "int('9' * 4000)",
    "9" * 1900, "*".join(["9" * 300] * 6))


def mutated(rng: Random, value: Any, times: int = 1) -> Any:
    """A copy of a JSON value in which some places hold something else, are gone, twice, or nested in themselves."""
    value = copy.deepcopy(value)
    for _ in range(times):
        places = list(_places(value))
        if not places:
            return odd(rng)
        parent, key = rng.choice(places)
        kind = rng.randrange(5)
        if kind == 0:
            del parent[key]
        elif kind == 1:
            parent[key] = {"type": "x", "inputs": {"x": parent[key]}}
        elif kind == 2 and isinstance(parent, dict):
            parent[str(rng.choice(ODD))[:50]] = parent[key]
        elif kind == 3:
            _, other = rng.choice(places)
            source = parent if isinstance(parent, list) or other not in parent else parent[other]
            parent[key] = copy.deepcopy(source)
        else:
            parent[key] = odd(rng)
    return value


def odd(rng: Random) -> Any:
    """One of ODD; a copy, which may be changed in turn."""
    return copy.deepcopy(rng.choice(ODD))


def _places(value: Any):
    """(container, key) of every value inside."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def raw(rng: Random, content: bytes) -> bytes:
    """Bytes that are cut, torn, repeated or flipped, or deep, huge or nothing instead."""
    size = len(content)
    a, b = sorted(rng.randrange(size + 1) for _ in range(2))
    kind = rng.randrange(8)
    if kind == 0:
        return content[:a]
    if kind == 1:
        return content[:a] + content[b:]
    if kind == 2:
        return content[:b] + content[a:]
    if kind == 3:
        return rng.choice([b"", b"null", b"[]", b"\xff\xfe", b'"' + b"x" * 10**5, b"9" * 5000, b'{"settings": 1e999}'])
    if kind == 4:
        opened = rng.choice([b"[", b'{"a":', b'{"type":"x","inputs":{"x":', b'{"settings":{},"sampler":{"inputs":'])
        return opened * rng.choice([30, 300, 100_000])
    if kind == 5:
        return content + b" " * rng.choice([10, 10**5, 10**6, 3 * 10**7])
    changed = bytearray(content)
    for _ in range(rng.randrange(1, 6) if changed else 0):
        changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
    return bytes(changed)
