"""Policies that travel inside workflows: what is kept, what is refused, and what a missing one does."""

from __future__ import annotations

import base64
import json
import os
import pickle
import random
import shutil
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from recache.nodes.budget import ReCacheBudget
from recache.nodes.library import embed, folders, resolve
from recache.nodes.library.ranking import Target
from recache.nodes.server import prompt_info
from recache.policies import policy_file
from recache.policies.policy_format import PolicyFileError, encode
from tests.hosting.prompts import install_models, sampling
from tests.hosting.server import emptied
from tests.hosting.session import ROOT

SHIPPED = ROOT / "policies" / "shipped"
ONE, OTHER = ((SHIPPED / f"{name}.safetensors").read_bytes() for name in ("demo-flux-taylor1", "demo-wan-taylor1"))


@pytest.fixture
def policies(server):
    """The server's models/recache, empty."""
    with emptied(server.models / "recache") as folder:
        yield folder


def post(client, body: bytes, **headers) -> tuple[int, dict]:
    """Sends bytes to the route: status and answer."""
    headers = {"Content-Type": "application/json"} | {key.replace("_", "-"): value for key, value in headers.items()}
    request = urllib.request.Request(f"{client.url}/recache/policy", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        text = error.read()
        return error.code, json.loads(text) if text.startswith(b"{") else {}


def send(client, file, content: bytes) -> tuple[int, dict]:
    return post(client, json.dumps({"file": file, "data": base64.b64encode(content).decode()}).encode())


def stored(file: str, new: bool, instead_of: str | None = None) -> tuple[int, dict]:
    """The answer to a policy that is kept."""
    return 200, {"file": file, "new": new, "instead_of": instead_of}


def refused(answer: tuple[int, dict]) -> str:
    """The one sentence with which something is refused."""
    status, said = answer
    assert status in (200, 400) and set(said) == {"error"}, answer
    sentence = said["error"]
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 400
    return sentence


def test_a_policy_is_kept_once_and_never_replaces_another(client, policies):
    assert send(client, "theirs.safetensors", ONE) == stored("theirs.safetensors", True)
    assert (policies / "theirs.safetensors").read_bytes() == ONE
    assert send(client, "theirs.safetensors", ONE) == stored("theirs.safetensors", False)
    status, other = send(client, "theirs.safetensors", OTHER)
    assert status == 200 and other["new"] and other["file"] not in ("theirs.safetensors", "")
    assert send(client, "theirs.safetensors", OTHER) == (200, other | {"new": False})
    assert (policies / "theirs.safetensors").read_bytes() == ONE
    assert sorted(path.name for path in policies.glob("theirs*")) == sorted(["theirs.safetensors", other["file"]])
    assert (policies / other["file"]).read_bytes() == OTHER
    assert {"theirs.safetensors", other["file"]} <= set(names(client))


def names(client) -> list[str]:
    described = client.object_info("ReCacheBudget")["input"]["required"]["policy"]
    return described[0] if isinstance(described[0], list) else described[1]["options"]


def of_a_newer_pack(content: bytes) -> bytes:
    """The policy with a mechanism that this pack does not have, and a gain that goes before all others."""
    file = policy_file.load_bytes(content, "theirs")
    about = replace(file.about, name="newer", mechanism="foresight", mechanism_options={}, notes="")
    table = {k: {"policy": 0.01, "default": 1.0} for k in file.policy.budgets}
    return encode(replace(file, about=about, validation=table), "newer")


def test_a_mechanism_of_a_newer_pack_is_refused_and_in_nobodys_way(client, policies):
    said = refused(send(client, "newer.safetensors", of_a_newer_pack(ONE)))
    assert "uses the mechanism 'foresight'" in said and "update the node pack" in said
    (policies / "newer.safetensors").write_bytes(of_a_newer_pack(ONE))
    layout = next(iter(policy_file.load_bytes(ONE, "one").about.model_identity.values()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "policy_names", lambda: ["newer.safetensors", "demo-flux-taylor1.safetensors"])
        patch.setattr(folders, "policy_path", lambda name: (
            (policies, policies / name) if name == "newer.safetensors" else (SHIPPED, SHIPPED / name)))
        assert resolve.best_for(layout, Target("taylor", 1, "auto", 0.2)).about.name == "demo-flux-taylor1"
        with pytest.raises(PolicyFileError, match="foresight"):
            resolve.load_named("newer.safetensors")


def test_what_takes_the_place_of_another_for_auto_says_so(client, policies):
    file = policy_file.load_bytes(ONE, "theirs")
    table = {k: {"policy": 0.01, "default": 1.0} for k in file.policy.budgets}
    better = encode(replace(file, about=replace(file.about, name="better"), validation=table), "better")
    assert send(client, "better.safetensors", better) == stored("better.safetensors", True, "demo-flux-taylor1")
    assert send(client, "better.safetensors", better) == stored("better.safetensors", False)


def test_a_name_of_the_packs_own_policies_is_taken(client, policies):
    assert send(client, "demo-flux-taylor1.safetensors", ONE) == stored("demo-flux-taylor1.safetensors", False)
    assert send(client, "demo-flux-taylor1.safetensors", OTHER)[1]["new"]
    assert not (policies / "demo-flux-taylor1.safetensors").exists()


def test_what_is_given_is_what_is_taken(client, policies):
    (policies / "portraits").mkdir()
    (policies / "portraits" / "mine.safetensors").write_bytes(ONE)
    for written in ("portraits/mine.safetensors", "portraits\\mine.safetensors"):
        given = client.get("/recache/policy", file=written)
        assert base64.b64decode(given["data"]) == ONE and "12 steps" not in given["from"] and given["from"]
        assert Path(given["file"]) == Path("portraits/mine.safetensors")
    shutil.rmtree(policies / "portraits")
    assert post(client, json.dumps(given).encode())[1]["new"]
    assert (policies / "portraits" / "mine.safetensors").read_bytes() == ONE
    for missing in ("none.safetensors", "", "../../secret", "\x00"):
        assert "is not in models/recache" in client.get("/recache/policy", file=missing)["error"]


@pytest.mark.parametrize("name", [
    "", ".safetensors", "../out.safetensors", "a/../../out.safetensors", "..\\out.safetensors", "/tmp/out.safetensors",
    "C:\\out.safetensors", "out.safetensors/../../out.safetensors", "out.pt", "out", "con.safetensors",
    "a/NUL.safetensors", ".hidden.safetensors", "a/.git/out.safetensors", "out .safetensors", "out\x00.safetensors",
    "out\n.safetensors", "\ud800.safetensors", "\u202eout.safetensors", "a/b/c/d/e.safetensors",
    "x" * 300 + ".safetensors", "//out.safetensors", "out:stream.safetensors", "~/*.safetensors"])
def test_names_that_are_refused(client, server, policies, name):
    before = set(server.base.rglob("*.safetensors"))
    refused(send(client, name, ONE))
    assert set(server.base.rglob("*.safetensors")) == before


def test_damaged_policies_are_refused(client, policies):
    rng = random.Random(0)
    for length in [0, 1, 7, 8, 9, *range(10, len(ONE), 97), len(ONE) - 1]:
        refused(send(client, "cut.safetensors", ONE[:length]))
    for _ in range(60):
        flipped = bytearray(ONE)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        status, said = send(client, "flipped.safetensors", bytes(flipped))
        if "file" in said:  # white space in the header: nothing that counts
            told = policy_file.load(said["file"], policies)
            assert told.about == policy_file.load_bytes(ONE, "one").about
        else:
            refused((status, said))
    assert not (policies / "cut.safetensors").exists()


def test_a_pickle_never_runs(client, server, policies, tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    for content in (pickle.dumps(Evil()), b"PK\x03\x04" + pickle.dumps(Evil()) * 50):
        refused(send(client, "evil.safetensors", content))
    assert not marker.exists() and not list(policies.glob("evil*"))


@pytest.mark.parametrize("body", [
    b"", b"{", b"null", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"file": "a.safetensors"}',
    b'{"file": "a.safetensors", "data": null}', b'{"file": "a.safetensors", "data": 7}', b'{"file": 7, "data": ""}',
    b'{"file": null, "data": "AAAA"}', '{"file": "a.safetensors", "data": "\u00e4"}'.encode(),
    b'{"file": "a.safetensors", "data": "A"}', b'{"file": "a.safetensors", "data": "AA=A*"}',
    b'{"file": {"a": 1}, "data": "AAAA"}'])
def test_bodies_that_are_nonsense(client, policies, body):
    refused(post(client, body))
    assert not list(policies.glob("a*"))


def test_too_much_is_not_even_read(client, policies):
    status, _ = post(client, b'{"file": "big.safetensors", "data": "' + b"A" * 700_000 + b'"}')
    assert status == 413 and not list(policies.glob("big*"))


def test_other_sites_can_not_send(client, policies):
    body = json.dumps({"file": "theirs.safetensors", "data": base64.b64encode(ONE).decode()}).encode()
    assert post(client, body, Origin="http://evil.example")[0] == 403
    assert post(client, body, Content_Type="text/plain")[0] == 415
    assert not (policies / "theirs.safetensors").exists()


@pytest.fixture(scope="module")
def models(server):
    install_models(server.models)


def test_a_missing_policy_is_named_and_the_run_works(models, client, server, policies):
    said = "The policy 'gone.safetensors' is not in models/recache; until it is there, the uniform schedule is used."
    before = server.complaints()
    result = client.run(sampling("gone.safetensors")).check()
    assert said in result.outputs["10"]["text"][0].splitlines()
    (policies / "gone.safetensors").write_bytes(ONE)  # it is there again, and a kept output does not hide it
    again = client.run(sampling("gone.safetensors")).check()
    assert "is not in models/recache" not in again.outputs["10"]["text"][0] and "8" in again.executed
    assert server.complaints() == before


def test_two_budgets_with_the_same_settings_are_two(models, client):
    both = sampling("uniform") | {
        "18": sampling("uniform")["8"], "19": sampling("uniform", "18")["9"], "20": sampling("uniform", "18")["10"]}
    both["20"]["inputs"]["samples"] = ["19", 0]
    page = {"extra_pnginfo": {"workflow": {"id": "two", "nodes": []}}}  # what a page queues along
    outputs = client.run(both, page).check().outputs
    assert all("3 of 6 computed" in outputs[node]["text"][0] for node in ("10", "20"))
    for node in ("8", "18"):
        sampler = {"type": "KSampler", "inputs": {"steps": 6, "sampler_name": "euler", "scheduler": "simple"}}
        settings = {"budget": 0.5, "policy": "uniform"}
        plan = client.post("/recache/plan", {"workflow": "two", "node": node, "settings": settings, "sampler": sampler})
        assert plan["run"]["computed"] == plan["computed"] == [0, 2, 4]


def test_a_missing_policys_origin_comes_from_the_workflow(models, client):
    node = {"id": 3, "type": "ReCacheBudget", "properties": {
        "recache_policy": {"file": "gone.safetensors", "from": "fitted on\n" + "x" * 500, "data": "ignored here"}}}
    told = {"id": "w", "nodes": [{"id": 12, "type": "sub"}],
            "definitions": {"subgraphs": [{"id": "sub", "nodes": [node]}]}}
    prompt = client.queue(sampling("gone.safetensors", "12:3"), {"extra_pnginfo": {"workflow": told}})
    line = next(line for line in client.wait(prompt).check().outputs["10"]["text"][0].splitlines() if "gone" in line)
    assert line.startswith("The policy 'gone.safetensors' (fitted on xxx") and "...) is not in models/recache" in line


@pytest.mark.parametrize("properties", [
    None, 7, [], {"recache_policy": None}, {"recache_policy": [1]}, {"recache_policy": {"file": 7, "from": {}}},
    {"recache_policy": {"file": "other.safetensors", "from": "elsewhere"}},
    {"recache_policy": {"file": "gone.safetensors", "from": {"a": 1}}}])
def test_nonsense_in_the_workflow_tells_nothing(properties):
    told = {"id": 7, "nodes": [None, {"id": []}, {"id": 8, "type": {}, "properties": properties}], "definitions": [7]}
    for pnginfo in ({"workflow": told}, {"workflow": [told]}, {"workflow": None}, [told], "", None):
        for node in ("8", 8, "8:8", "", None, ":"):
            assert embed.stated_origin(prompt_info.properties_of(pnginfo, node), "gone.safetensors") == ""
        assert prompt_info.workflow_id(pnginfo) is None


@pytest.mark.parametrize("name", ["../../secret.safetensors", "\x00", "x" * 5000, "\ud800", "C:\\a\\b.safetensors", ""])
def test_names_that_are_no_files_are_missing_policies(models, client, name):
    assert "is not in models/recache" in client.run(sampling(name)).check().outputs["10"]["text"][0]


@pytest.mark.parametrize("policy", [7, 1.5, True, {"a": 1}, ["x"]])
def test_a_policy_that_is_no_name_is_refused(policy):
    assert "choose one from the list" in ReCacheBudget.validate_inputs(policy=policy)
    assert ReCacheBudget.validate_inputs() is True  # another node gives it
