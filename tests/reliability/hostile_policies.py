"""Policy files that a hostile author could write: damaged ones, and valid ones that ask for all that the format has."""

from __future__ import annotations

import hashlib
import json
import struct
from random import Random

import numpy as np
import safetensors.numpy

from recache.policies.policy_file import PolicyFileError, load_bytes
from recache.policies.policy_format import encode
from tests.hosting.session import ROOT
from tests.reliability.mutations import ODD, mutated, raw

SHIPPED = sorted((ROOT / "policies" / "shipped").glob("*.safetensors"))
_MOST = 1024  # evaluations of a policy


def header_of(content: bytes) -> tuple[dict, bytes]:
    """The safetensors header and the bytes after it."""
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(header, data: bytes) -> bytes:
    """The file of a header and the bytes after it."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def signed(about, tensors: dict[str, np.ndarray]) -> bytes:
    """A file with a checksum that fits, whatever it says."""
    text = json.dumps(about)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass"))
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype.str} {tensors[key].shape}".encode() + tensors[key].tobytes())
    return safetensors.numpy.save(tensors, {"recache": text, "sha256": digest.hexdigest()})


def hostile(rng: Random) -> bytes:
    """A policy file: a shipped one that was changed, or one that is made of extreme numbers."""
    content = rng.choice(SHIPPED).read_bytes()
    kind = rng.randrange(5)
    if kind == 0:
        return raw(rng, content)
    header, data = header_of(content)
    if kind == 1:
        return with_header(mutated(rng, header, rng.randrange(1, 4)), data)
    about, tensors = json.loads(header["__metadata__"]["recache"]), safetensors.numpy.load(content)
    if kind == 2:
        return signed(mutated(rng, about, rng.randrange(1, 4)), tensors)
    if kind == 3:
        name = rng.choice([name for name, tensor in tensors.items() if tensor.size])
        tensors[name].flat[rng.randrange(tensors[name].size)] = rng.choice([np.nan, np.inf, -np.inf, 1e30, 1e6, 0.0])
        return signed(about, tensors)
    return extreme(rng, about)


def extreme(rng: Random, about: dict) -> bytes:
    """A valid file that is as large, as uneven or as degenerate as the format allows."""
    n = rng.choice([1, 2, 3, 20, 50, 512, 1000, _MOST])
    budgets = sorted(rng.sample(range(1, n + 1), rng.choice([1, min(n, 2), min(n, 30), min(n, 256)])))
    numbers = np.random.default_rng(rng.randrange(2**32))
    logits = rng.choice([
        np.zeros, np.ones, lambda shape: numbers.choice([-1e6, 1e6], shape), numbers.standard_normal,
        lambda shape: np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)])((len(budgets), n - 1))
    about = about | {"budgets": budgets, "candidates": rng.choice([[], ["learned", "uniform"], ["uniform"]])}
    table = rng.choice([np.zeros, np.ones, numbers.random])((len(budgets), len(about["candidates"])))
    return signed(about, {"logits": np.asarray(logits, np.float32), "times": times(rng, n),
                          "validation": np.asarray(table, np.float32)})


def times(rng: Random, n: int) -> np.ndarray:
    """Evaluation times of a run: falling, rising, equal, tiny, huge, in pairs or in no order."""
    falling = np.linspace(1.0, 1.0 / n, n)
    return np.array(rng.choice([
        falling, falling[::-1], np.ones(n), falling * 1e-300, falling * 1e6, np.repeat(falling, 2)[:n], -falling,
        np.random.default_rng(rng.randrange(2**32)).random(n), np.geomspace(1.0, 1e-9, n), falling * 0.01]), np.float64)


def check_sentence(text: str) -> None:
    """What is refused is refused in one sentence."""
    assert text.endswith(".") and "\n" not in text and len(text) < 400, text


def use(rng: Random, content: bytes) -> str:
    """Opens a file and plans runs with it, as the nodes do; returns "refused" or "valid".

    Raises:
        AssertionError: it was neither refused in one sentence nor can be used.
    """
    try:
        file = load_bytes(content, str(rng.choice(ODD))[:200])
    except PolicyFileError as error:
        check_sentence(str(error))
        return "refused"
    n = rng.choice([1, 2, 8, 20, 50, 300, 512, _MOST])
    for known in (None, times(rng, n), np.array(file.policy.times)[-n:]):
        length = file.policy.n if known is None else len(known)
        for k in {1, length, rng.randint(1, length), rng.randint(1, length)}:
            schedule = file.policy.schedule(k, None if known is None else known.tolist(), rng.random() < 0.8)
            assert sum(schedule.computed) == schedule.k == k and schedule.computed[0], (k, length)
            assert len(schedule.computed) == length
    share = rng.random()
    assert file.gain(share) is None or file.expected(share) is not None
    order = file.mechanism(share)[1]
    assert type(order) is int and order in (1, 2, 3)
    assert load_bytes(encode(file, "again"), "again").about == file.about
    return "valid"
