"""Policy files: round trip, atomic writes, and every kind of bad file, one sentence each."""

import hashlib
import json
import os
import pickle
import random
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch

from recache.policies import policy_file
from recache.policies.held_out import HeldOut
from recache.policies.learning.imitation import imitate
from recache.policies.learning.plackett_luce import PlackettLuce
from recache.policies.policy import from_schedules
from recache.policies.policy_file import About, PolicyFile, PolicyFileError, inside, load, save
from recache.policies.schedule import from_indices

N = 20
TIMES = tuple(np.linspace(1.0, 0.05, N))
ABOUT = {
    "name": "Test",
    "pack_version": "0.1.0",
    "model_family": "flux",
    "mechanism": "taylor",
    "cache_point": "output",
    "sampler": "euler",
    "scheduler": "simple",
    "steps": N,
    "cfg": 1.0,
    "size": [64, 64],
    "reward": "latent MSE",
    "shift": 1.15,
    "model_identity": {"hidden": 128},
    "mechanism_options": {"order": 1},
    "training": {"samples": 8, "evaluations": 1234},
    "notes": "made by a test",
}


def example() -> PolicyFile:
    schedules = {k: from_indices([0, *range(1, 2 * k - 1, 2)], N, TIMES) for k in (3, 5, 9)}
    torch.manual_seed(0)
    learned = PlackettLuce(N, times=TIMES)
    assert imitate(learned, schedules, 0.9)
    validation = {k: {"learned": 0.5 / k, "uniform": 1.0 / k} for k in schedules}
    return PolicyFile(from_schedules(schedules, learned), About(**ABOUT), validation)


@pytest.fixture
def saved(tmp_path):
    save(inside(tmp_path, "a.safetensors"), example())
    return tmp_path / "a.safetensors"


def refused(path, content=None):
    """The one sentence with which a file is refused."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PolicyFileError) as error:
        load(path, path.parent)
    message = str(error.value)
    assert path.name in message and "\n" not in message and message.endswith(".") and len(message) < 250
    return message


def split(content):
    size = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def joined(header, data):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def reworded(content, change):
    """The file with other metadata, and a checksum that fits it: what a hostile author would write."""
    header, data = split(content)
    about = json.loads(header["__metadata__"]["recache"])
    about = change(about) or about
    text = json.dumps(about)
    digest = hashlib.sha256(text.encode())
    for key in sorted(set(header) - {"__metadata__"}):
        dtype = {"F32": np.float32, "F64": np.float64}[header[key]["dtype"]]
        begin, end = header[key]["data_offsets"]
        array = np.frombuffer(data[begin:end], dtype).reshape(header[key]["shape"])
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    header["__metadata__"] = {"recache": text, "sha256": digest.hexdigest()}
    return joined(header, data)


def test_round_trip(saved):
    file, made = load(saved.name, saved.parent), example()
    assert file.about == made.about
    assert file.policy.times == made.policy.times and file.policy.budgets == (3, 5, 9)
    np.testing.assert_array_equal(file.policy.logits, made.policy.logits)
    assert {k: s.indices for k, s in file.policy.schedules.items()} == {
        k: s.indices for k, s in made.policy.schedules.items()
    }
    assert file.validation[3]["uniform"] == pytest.approx(1 / 3) and set(file.validation) == {3, 5, 9}
    assert sorted(p.name for p in saved.parent.iterdir()) == ["a.safetensors"]


def test_reworded_helper_makes_valid_files(saved):
    saved.write_bytes(reworded(saved.read_bytes(), lambda about: about.update(name="Other")))
    assert load(saved, saved.parent).about.name == "Other"


def recorded(n: int = N) -> np.ndarray:
    """Mean inner products of n predictions."""
    rows = np.random.default_rng(0).normal(size=(n, 400)).cumsum(0)
    return rows @ rows.T / 400


def test_inner_products_are_kept_to_the_bit_and_only_files_with_them_need_a_newer_pack(saved):
    assert json.loads(split(saved.read_bytes())[0]["__metadata__"]["recache"])["format_version"] == 1
    save(saved, replace(example(), gram=recorded()))
    about = json.loads(split(saved.read_bytes())[0]["__metadata__"]["recache"])
    file = load(saved, saved.parent)
    assert about["format_version"] == 2 and file.about == example().about
    np.testing.assert_array_equal(file.gram, recorded())
    for version in (1, 3):
        refused(saved, reworded(saved.read_bytes(), lambda a, version=version: a.update(format_version=version)))


def test_the_expected_distance_is_of_what_the_policy_holds():
    file = example()
    assert file.expected(0.25) == HeldOut(5, 0.1, 0.2, "uniform")  # an older file: the best of its candidates
    assert file.gain(0.25) == pytest.approx(0.5)
    held = {k: row | {"policy": row["learned"] * 1.5, "fewer steps": 0.0} for k, row in file.validation.items()}
    assert replace(file, validation=held).expected(0.25).distance == pytest.approx(0.15)
    newer = {k: row | {"default": 0.16} for k, row in held.items()}
    found = replace(file, validation=newer).expected(0.25)
    assert (found.k, found.other, found.than) == (5, 0.16, "default") and found.gain == pytest.approx(1 / 16)


def test_a_mechanism_for_every_budget_is_kept(saved):
    mechanisms = {3: ("hermite", 1), 5: ("l2p", 1), 9: ("taylor", 2)}
    for file in (replace(example(), mechanisms=mechanisms), replace(example(), mechanisms=mechanisms, gram=recorded())):
        save(saved, file)
        content = saved.read_bytes()
        assert json.loads(split(content)[0]["__metadata__"]["recache"])["format_version"] == 3
        read = load(saved, saved.parent)
        assert read.mechanisms == mechanisms and read.about == file.about and (read.gram is None) == (file.gram is None)
    assert [read.mechanism(k / N) for k in (1, 4, 5, 7, 8, 20)] == [
        ("hermite", 1), ("hermite", 1), ("l2p", 1), ("l2p", 1), ("taylor", 2), ("taylor", 2)]
    assert example().mechanism(0.1) == ("taylor", 1)
    for wrong in ([], [["taylor", 1]] * 2, [["taylor", 4]] * 3, [["taylor"]] * 3, ["taylor"] * 3, [[7, 1]] * 3,
                  "taylor", {"3": ["taylor", 1]}, [["x" * 501, 1]] * 3, [["taylor", True]] * 3):
        refused(saved, reworded(content, lambda a, wrong=wrong: a.update(mechanisms=wrong)))
    refused(saved, reworded(content, lambda a: a.update(format_version=2)))
    with pytest.raises(PolicyFileError, match="its mechanisms are not those of its budgets"):
        save(saved, replace(example(), mechanisms={3: ("taylor", 1)}))


@pytest.mark.parametrize("change", [
    lambda g: g[:-1], lambda g: g[:-1, :-1], lambda g: g[0], lambda g: g * np.nan, lambda g: g * np.inf,
    lambda g: g * 1e9, lambda g: g * 1e300, lambda g: g * 1e-9, lambda g: g * 0, lambda g: -g, lambda g: g[::-1],
    lambda g: g + np.triu(np.ones_like(g), 1), lambda g: g - np.eye(N), lambda g: g * (1 + np.eye(N) * np.inf),
    lambda g: np.where(np.eye(N) == 1, g, 1e6), lambda g: np.where(np.eye(N) == 1, g, 1e308)])
def test_inner_products_that_no_run_has(saved, change):
    old = saved.read_bytes()
    with np.errstate(all="ignore"):
        bad = change(recorded())
    with pytest.raises(PolicyFileError, match=r"(no recorded run can have|not finite); train or download .* again\.$"):
        save(saved, replace(example(), gram=bad))
    assert saved.read_bytes() == old


def test_inner_products_of_another_type_or_of_too_many_evaluations(saved, tmp_path):
    save(saved, replace(example(), gram=recorded()))
    header, data = split(saved.read_bytes())
    for change in ({"dtype": "F32"}, {"dtype": "I64"}, {"shape": [N * N]}, {"data_offsets": [0, 8]}):
        refused(saved, joined(header | {"gram": header["gram"] | change}, data))
    for n in (128, 129):
        policy = from_schedules({1: from_indices([0], n, np.linspace(1.0, 0.01, n))})
        file = PolicyFile(policy, About(**ABOUT), gram=recorded(n))
        if n == 128:
            save(tmp_path / "most.safetensors", file)
        else:
            with pytest.raises(PolicyFileError):
                save(tmp_path / "more.safetensors", file)


def test_a_file_without_validation_and_of_one_evaluation(tmp_path):
    policy = from_schedules({1: from_indices([0], 1, [1.0])})
    save(tmp_path / "one.safetensors", PolicyFile(policy, About(**ABOUT)))
    file = load("one.safetensors", tmp_path)
    assert file.validation == {} and file.policy.schedule(1).indices == (0,)


def test_truncated_anywhere(saved):
    content = saved.read_bytes()
    for length in [*range(0, len(content), 37), len(content) - 1]:
        refused(saved, content[:length])


def test_every_flipped_bit_is_noticed(saved):
    content = saved.read_bytes()
    rng = random.Random(0)
    size = struct.unpack("<Q", content[:8])[0]
    spots = [rng.randrange(len(content)) for _ in range(300)] + list(range(8 + size, len(content), 11))
    for spot in spots:
        changed = bytearray(content)
        changed[spot] ^= 1 << rng.randrange(8)
        saved.write_bytes(changed)
        try:
            file = load(saved, saved.parent)
        except PolicyFileError:
            continue
        assert spot < 8 + size and file.about == example().about  # JSON white space, nothing that counts
        np.testing.assert_array_equal(file.policy.logits, example().policy.logits)


def test_a_pickle_renamed_never_runs(saved, tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    for content in (pickle.dumps(Evil()), pickle.dumps(Evil(), 0), b"PK\x03\x04" + pickle.dumps(Evil()) * 100):
        assert "not a policy file" in refused(saved, content)
    assert not marker.exists()


def test_a_model_that_is_no_policy(saved):
    import safetensors.numpy

    message = refused(saved, safetensors.numpy.save({"weight": np.zeros((4, 4), np.float32)}))
    assert "not a ReCache policy" in message


def test_newer_format(saved):
    assert "newer ReCache" in refused(saved, reworded(saved.read_bytes(), lambda a: a.update(format_version=4)))


@pytest.mark.parametrize("value", [None, "1", 0, -1, 1.0, True, [1]])
def test_absurd_format_versions(saved, value):
    refused(saved, reworded(saved.read_bytes(), lambda a: a.update(format_version=value)))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "x" * 501),
        ("name", 7),
        ("name", "\x00\x1b[31m"),
        ("name", "\ud800"),
        ("steps", 0),
        ("steps", 10**400),
        ("steps", True),
        ("steps", 20.0),
        ("cfg", 1e9),
        ("cfg", "1"),
        ("cfg", -(10**400)),
        ("shift", -1),
        ("size", [64] * 5),
        ("size", [0]),
        ("size", {"w": 64}),
        ("budgets", []),
        ("budgets", [9, 5, 3]),
        ("budgets", [3, 3, 5]),
        ("budgets", [3, 5, 21]),
        ("budgets", [3, 5]),
        ("budgets", [0, 3, 5]),
        ("budgets", list(range(1, 1000))),
        ("candidates", ["a", "a"]),
        ("candidates", ["learned"]),
        ("candidates", [["a"], ["b"]]),
        ("training", {"a": []}),
        ("training", {str(i): i for i in range(33)}),
        ("training", {"x": {"deep": {"er": 1}}}),
        ("model_identity", {"k" * 501: 1}),
        ("mechanism_options", {"order": 1e300}),
        ("mechanism_options", {"order": 1.0}),
        ("mechanism_options", {"order": 7}),
        ("mechanism_options", {"order": "abc"}),
        ("unknown", 1),
    ],
)
def test_absurd_metadata(saved, key, value):
    refused(saved, reworded(saved.read_bytes(), lambda a: a.update({key: value})))


def test_missing_or_wrongly_typed_metadata(saved):
    content = saved.read_bytes()
    for key in ABOUT:
        refused(saved, reworded(content, lambda a, key=key: {k: v for k, v in a.items() if k != key}))
    for whole in ([], [1], "text", 5, [[[]]]):
        refused(saved, reworded(content, lambda a, whole=whole: whole or [0]))
    header, data = split(content)
    for metadata in (None, [], "x", {"recache": 5}, {"recache": "{" * 1000}, {"recache": "[" * 200_000}):
        refused(saved, joined(header | {"__metadata__": metadata}, data))
    refused(saved, joined(header | {"__metadata__": {"recache": '{"format_version": NaN}'}}, data))
    refused(saved, joined([header], data))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("key", ["logits", "times", "validation"])
def test_numbers_that_are_not_finite_or_plausible(saved, key, value):
    header, data = split(saved.read_bytes())
    begin = header[key]["data_offsets"][0]
    code = "<d" if key == "times" else "<f"
    data = data[:begin] + struct.pack(code, value) + data[begin + struct.calcsize(code) :]
    content = reworded(joined(header, data), lambda a: None)
    if key == "validation" and value == 1e30:  # what a ruined picture costs
        saved.write_bytes(content)
        load(saved, saved.parent)
    else:
        assert "numbers" in refused(saved, content)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [2**40, 2**40]},
        {"shape": [10**30, 1]},
        {"shape": [3, 19, 1]},
        {"shape": [57]},
        {"shape": [-3, -19]},
        {"dtype": "F16"},
        {"dtype": "I32"},
        {"dtype": "BF16"},
        {"dtype": "bogus"},
        {"data_offsets": [0, 2**50]},
        {"data_offsets": [8, 4]},
        {"data_offsets": "all"},
    ],
)
def test_oversized_shapes_and_wrong_dtypes(saved, change):
    header, data = split(saved.read_bytes())
    header["logits"] |= change
    refused(saved, joined(header, data))


def test_header_lengths_and_huge_files(saved):
    content = saved.read_bytes()
    for size in (0, 1, 2**18 + 1, len(content), 2**31, 2**63, 2**64 - 1):
        refused(saved, struct.pack("<Q", size) + content[8:])
    with saved.open("wb") as stream:
        stream.truncate(2**40)  # sparse: a terabyte that must not be read
    assert "too big" in refused(saved)


def test_paths_out_of_the_folder(tmp_path, saved):
    folder = tmp_path / "recache"
    folder.mkdir()
    for name in ("../a.safetensors", str(saved), "x/../../a.safetensors", ".", "", "a.bin", "\0.safetensors"):
        with pytest.raises(PolicyFileError, match="policy"):
            load(name, folder)
    (folder / "link.safetensors").symlink_to(saved)
    (folder / "away").symlink_to(tmp_path)
    (folder / "loop.safetensors").symlink_to("loop.safetensors")
    for name in ("link.safetensors", "away/a.safetensors", "loop.safetensors", "missing.safetensors"):
        with pytest.raises(PolicyFileError):
            load(name, folder)
    (folder / "sub").mkdir()
    save(inside(folder, "sub/b.safetensors"), example())
    (folder / "inner.safetensors").symlink_to(folder / "sub" / "b.safetensors")
    assert load("inner.safetensors", folder).about == load("sub/b.safetensors", folder).about


def test_what_is_not_a_file(tmp_path):
    (tmp_path / "d.safetensors").mkdir()
    os.mkfifo(tmp_path / "f.safetensors")  # opening it would wait for ever
    for name in ("d.safetensors", "f.safetensors"):
        assert "is not a file" in refused(tmp_path / name)


def test_save_refuses_what_load_would(tmp_path):
    made = example()
    bad = [
        PolicyFile(made.policy, About(**ABOUT | {"steps": 0})),
        PolicyFile(made.policy, About(**ABOUT | {"cfg": float("nan")})),
        PolicyFile(made.policy, About(**ABOUT | {"training": {"tensor": np.float32(1)}})),
        PolicyFile(made.policy, made.about, {3: {"uniform": 1.0}}),
        PolicyFile(made.policy, made.about, {k: {"uniform": float("nan")} for k in (3, 5, 9)}),
    ]
    for file in bad:
        with pytest.raises(PolicyFileError):
            save(tmp_path / "bad.safetensors", file)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_leaves_the_old_file(saved, monkeypatch):
    old = saved.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policy_file.os, "fsync", full)
    with pytest.raises(PolicyFileError, match="No space left"):
        save(saved, example())
    assert saved.read_bytes() == old and list(saved.parent.iterdir()) == [saved]


def test_fuzz(saved):
    """Thousands of random mutations: a valid policy or PolicyFileError, nothing else."""
    content = saved.read_bytes()
    rng = random.Random(1)
    odd = [None, True, -1, 0, 1, 2**70, 1e308, -0.0, "", "x" * 600, [], [[]], {}, {"a": None}, "NaN", "\u2028", 3.5]
    valid = 0
    for _ in range(2000):
        kind = rng.randrange(4)
        if kind == 0:
            changed = bytearray(content)
            for _ in range(rng.randrange(1, 6)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
            changed = bytes(changed)
        elif kind == 1:
            a, b = sorted(rng.randrange(len(content)) for _ in range(2))
            changed = rng.choice([content[:a] + content[b:], content[:b] + content[a:], content[a:] + content[:b]])
        elif kind == 2:
            changed = reworded(content, lambda a: a.update({rng.choice(list(a)): rng.choice(odd)}))
        else:
            header, data = split(content)
            entry = header[rng.choice(list(header))]
            entry[rng.choice(list(entry))] = rng.choice(odd)
            changed = joined(header, data)
        saved.write_bytes(changed)
        try:
            file = load(saved, saved.parent)
        except PolicyFileError:
            continue
        valid += 1
        assert [file.policy.schedule(k).k for k in (1, 3, 4, 20)] == [1, 3, 4, 20]
    assert 0 < valid < 500
