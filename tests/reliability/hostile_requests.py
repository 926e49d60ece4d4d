"""Requests that no page of the pack sends, to every route of the pack on a real server."""

from __future__ import annotations

import base64
import http.client
import json
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote, urlsplit

import psutil

from tests.hosting.plans import ADVANCED, CUSTOM, LOADER, asked, deep, ksampler
from tests.hosting.server import Server
from tests.reliability.hostile_policies import check_sentence, hostile
from tests.reliability.mutations import EXPRESSIONS, ODD, mutated, odd, raw

ROUTES = (
    ("POST", "/recache/plan"), ("GET", "/recache/policy"), ("POST", "/recache/policy"), ("GET", "/recache/training"),
    ("POST", "/recache/stop"))
JSON = {"Content-Type": "application/json"}
OTHER_SITES = (
    {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://127.0.0.1.evil.example"},
    {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"})
NAMES = (
    "a.safetensors", "b/c.safetensors", "../out.safetensors", "con.safetensors", "\ud800.safetensors", ".", "", "x")


@dataclass
class Target:
    """A server that is asked.

    Attributes:
        nodes: the server's descriptions of its nodes that make noise levels or samplers, by what they make.
    """

    server: Server
    nodes: dict[str, list[tuple[str, dict]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        url = urlsplit(self.server.url)
        self.address = url.hostname, url.port
        self.process = psutil.Process(self.server.process.pid)
        described = json.loads(self.ask("GET", "/object_info", None, {})[1])
        for name, node in described.items():
            for kind in ("SAMPLER", "SIGMAS", "MODEL"):
                if kind in node["output"] and node["python_module"].startswith("comfy_extras."):
                    inputs = node["input"].get("required", {}) | node["input"].get("optional", {})
                    self.nodes.setdefault(kind, []).append((name, inputs))

    def cpu_seconds(self) -> float:
        """That the server has used."""
        used = self.process.cpu_times()
        return used.user + used.system

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
        """Status and body of an answer; a server that cuts the connection of a body that it refuses has status 0."""
        connection = http.client.HTTPConnection(*self.address, timeout=300)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (ConnectionResetError, BrokenPipeError):
            return 0, b""
        finally:
            connection.close()

    def files(self) -> set[str]:
        """What lies in the server's folders, without its log, database and compiled Python."""
        found = (path for path in self.server.base.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.server.base).as_posix() for path in found
                if path.suffix == ".safetensors" or "recache" in path.name}


def tree(rng: Random, target: Target, kind: str, depth: int = 6) -> dict:
    """A tree of the server's own nodes that makes a `kind`, with values of the right types and any size."""
    name, inputs = rng.choice(target.nodes[kind])
    return {"type": name, "output": 0, "inputs": {
        key: _value(rng, target, declared, depth - 1) for key, declared in inputs.items()}}


def _value(rng: Random, target: Target, declared: list, depth: int) -> Any:
    kind, options = declared[0], declared[1] if len(declared) > 1 else {}
    choices = kind if isinstance(kind, list) else options.get("options")
    if choices is not None:
        return rng.choice(choices) if choices else odd(rng)
    if kind in target.nodes:
        return tree(rng, target, kind, depth) if depth > 0 else LOADER
    if kind in ("INT", "FLOAT"):
        low, high = options.get("min", 0), options.get("max", 100)
        usual = options.get("default", low)
        number = rng.choice([usual, usual, low, high, rng.uniform(low, high)])
        return int(number) if kind == "INT" else number
    expression = {"type": "ComfyMathExpression", "output": rng.randrange(3), "inputs": {
        "expression": rng.choice(EXPRESSIONS), "values.a": 3, "values.b": rng.choice(ODD[3:16])}}
    return rng.choice([expression, odd(rng)])


def plan_body(rng: Random, target: Target) -> bytes:
    """The body of a request for a plan: nearly right, or of nodes that were never meant to be put together."""
    kind = rng.randrange(4)
    if kind == 0:
        whole = asked({"type": "SamplerCustom", "inputs": {
            "model": LOADER, "sampler": tree(rng, target, "SAMPLER"), "sigmas": tree(rng, target, "SIGMAS")}})
    elif kind == 1:
        steps = {"type": "ComfyMathExpression", "output": 1, "inputs": {
            "expression": rng.choice(EXPRESSIONS), "values.a": rng.choice(ODD[3:16]), "values.b": 2}}
        scheduler = rng.choice(["simple", "beta", "karras", "ddim_uniform", "linear_quadratic", "kl_optimal"])
        sampler = rng.choice(["euler", "dpmpp_sde", "heun", "uni_pc", "dpm_adaptive", "ddim", "sa_solver", "er_sde"])
        whole = asked(ksampler(steps=rng.choice([steps, 1, 20, 700, 2000]), scheduler=scheduler, sampler_name=sampler,
                               denoise=rng.choice([1.0, 0.5, 0.11])))
    else:
        whole = mutated(rng, asked(rng.choice([ADVANCED, CUSTOM, ksampler(), ksampler(deep(45))])), rng.randrange(1, 5))
    whole = whole if not isinstance(whole, dict) or rng.random() < 0.7 else whole | {"settings": {
        "policy": rng.choice(["auto", "uniform", "list", *NAMES]), "evaluations": rng.choice(["", "0-9", "0," * 900]),
        "mechanism": rng.choice(["auto", "taylor", "reuse", "dicache"]), "budget": rng.choice([0.05, 0.3, 1.0])}}
    content = json.dumps(whole).encode()
    return raw(rng, content) if rng.random() < 0.1 else content


def policy_body(rng: Random) -> bytes:
    """A policy as a workflow brings it, under a name that is as odd as the file."""
    name = rng.choice([NAMES[0], NAMES[1], rng.choice(NAMES)])
    sent = {"file": name, "data": base64.b64encode(hostile(rng)).decode()}
    content = json.dumps(mutated(rng, sent) if rng.random() < 0.2 else sent).encode()
    return raw(rng, content) if rng.random() < 0.1 else content


def route_case(rng: Random, target: Target) -> str:
    """One request to one of the routes, perhaps with another method or as another site sends it; says what came back.

    Raises:
        AssertionError: the answer is no answer for such a request.
    """
    method, path = rng.choice([ROUTES[0], *ROUTES])
    method = rng.choice([method] * 8 + ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
    prefix = rng.choice(["", "/api"])
    body, headers = None, dict(JSON)
    if method not in ("GET", "HEAD"):
        stop = json.dumps({"training": rng.choice(ODD)}).encode()
        body = plan_body(rng, target) if "plan" in path else policy_body(rng) if "policy" in path else rng.choice(
            [stop, raw(rng, stop)])
    elif rng.random() < 0.7:
        path += f"?file={quote(str(rng.choice([*NAMES, *ODD]))[:500].encode('utf-8', 'replace'))}"
    foreign = method == "POST" and rng.random() < 0.15
    if foreign:
        headers |= rng.choice(OTHER_SITES)
    unmoved = target.files() if foreign or method != "POST" else None
    status, answer = target.ask(method, prefix + path, body, headers)
    assert unmoved is None or target.files() == unmoved, f"{method} {path} made a file"
    if foreign:
        assert status in (0, 403, 415), (status, headers, path)
        return "another site: refused"
    if (method, path.split("?")[0]) not in ROUTES:
        assert status in (0, 404, 405) or method == "HEAD", (status, method, path)
        return "another method: refused"
    return _answered(status, answer)


def _answered(status: int, answer: bytes) -> str:
    assert status in (0, 200, 400, 413), (status, answer[:500])
    if status == 0:
        return "connection closed"
    said = json.loads(answer)
    assert isinstance(said, dict)
    if status != 200 or "error" in said:
        check_sentence(said["error"])
        return "refused"
    return "answered"


def embedded_case(rng: Random, target: Target) -> str:
    """A policy from a workflow is stored if it is one, and then planned with.

    Raises:
        AssertionError: it was neither stored where policies lie nor refused in one sentence, or it can't be used.
    """
    status, answer = target.ask("POST", "/recache/policy", policy_body(rng), JSON)
    found = _answered(status, answer)
    if found != "answered":
        return found
    name = json.loads(answer)["file"]
    path = target.server.models / "recache" / name
    assert path.is_file() and path.resolve().is_relative_to(target.server.models / "recache"), name
    whole = asked(ksampler(steps=rng.choice([1, 8, 20, 50, 512, 1000])), {
        "policy": rng.choice([name, "auto"]), "budget": rng.choice([0.05, 0.3, 0.9]), "mechanism": "auto"})
    status, answer = target.ask("POST", "/recache/plan", json.dumps(whole).encode(), JSON)
    assert _answered(status, answer) == "answered"
    given = target.ask("GET", f"/recache/policy?file={quote(name)}", None, {})
    assert given[0] == 200 and json.loads(given[1])["file"] == name
    path.unlink()
    return "stored and used"
