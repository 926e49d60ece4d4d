"""Starts a real ComfyUI server on this machine, with the pack installed the way a user installs it."""

from __future__ import annotations

import argparse
import fnmatch
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.hosting.session import MODEL_FOLDERS, ROOT

PACK = "recache"
TEST_NODES = ROOT / "tests" / "host_nodes"

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_OF_PACK = re.compile(r"recache(?!-dev)", re.IGNORECASE)  # the cache folder that holds the host is called recache-dev
_TROUBLE = re.compile(r'\bwarn|error|exception|fail|cannot|unable|skip|deprecat|^\s*File "', re.IGNORECASE)
_IMPORT_TIME = re.compile(r"\d seconds(?P<failed> \(.*FAILED\))?: (?P<path>.*)$")


class ServerError(RuntimeError):
    """The server did not start, or ended; the message has the end of its log."""


@dataclass
class Server:
    """A running ComfyUI.

    Attributes:
        url: like ``http://127.0.0.1:41234``.
        base: its base directory; models, input and output are in there.
        log_path: all that it has printed.
    """

    url: str
    base: Path
    log_path: Path
    process: subprocess.Popen = field(repr=False)

    @property
    def models(self) -> Path:
        """The models folder; files put there while the server runs are found too."""
        return self.base / "models"

    @property
    def output(self) -> Path:
        """The folder of saved pictures."""
        return self.base / "output"

    def log(self) -> str:
        """Everything printed so far, without colour codes."""
        return _ANSI.sub("", self.log_path.read_text(encoding="utf-8", errors="replace"))

    def imported(self) -> dict[str, bool]:
        """The custom node packs that the server found, by folder name, and whether each one loaded."""
        found = (_IMPORT_TIME.search(line) for line in self.log().splitlines())
        return {Path(m["path"]).name: not m["failed"] for m in found if m}

    def complaints(self) -> list[str]:
        """The log's lines that speak of trouble with the pack: warnings, errors, tracebacks through its files."""
        return [line for line in self.log().splitlines()
                if _OF_PACK.search(line) and _TROUBLE.search(line)]


def left_out(folder: str, names: list[str]) -> set[str]:
    """Of the names in a folder of the checkout, those that the registry's packer leaves out; for ``copytree``."""
    place = Path(folder).relative_to(ROOT).as_posix()
    paths = {f"/{name}" if place == "." else f"/{place}/{name}": name for name in names}
    out = {".git"}
    for file in (".gitignore", ".comfyignore"):
        for pattern in (ROOT / file).read_text(encoding="utf-8").split():
            pattern = pattern.rstrip("/") if pattern.startswith("/") else f"*/{pattern.rstrip('/')}"
            out |= {paths[path] for path in fnmatch.filter(paths, pattern)}
    return out


def install(custom_nodes: Path, test_nodes: bool = False) -> None:
    """Copies what a user gets into a ``custom_nodes`` folder, in place of what was there.

    `test_nodes` adds the test nodes, and the policies of the demo models, which no user has.
    """
    target = custom_nodes / PACK
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(ROOT, target, ignore=left_out)
    if test_nodes:
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(TEST_NODES, custom_nodes / TEST_NODES.name, ignore=ignore, dirs_exist_ok=True)
        for policy in (ROOT / "policies" / "shipped").glob("demo-*"):
            shutil.copy2(policy, target / "policies" / "shipped")


@contextmanager
def emptied(folder: Path):
    """A folder of policies without those that other tests have left there, which are back afterwards."""
    aside = folder.with_name(f"{folder.name}-aside")
    folder.rename(aside)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
        aside.rename(folder)


@contextmanager
def serve(
    host_dir: str | Path,
    base_dir: str | Path | None = None,
    *,
    pack: bool = True,
    test_nodes: bool = False,
    arguments: Sequence[str] = (),
    port: int | None = None,
    threads: int | None = None,
    timeout: float = 300.0,
) -> Iterator[Server]:
    """Runs the server as a process of its own while the ``with`` block lasts; it listens on 127.0.0.1 only.

    Args:
        host_dir: the folder of ComfyUI's ``main.py``.
        base_dir: where models, input, output and custom nodes lie; None makes a temporary folder.
        pack: install the pack. Without it the server shows what ComfyUI does alone.
        test_nodes: install ``tests/host_nodes`` too.
        arguments: more command-line arguments for ComfyUI.
        port: None takes a free one.
        threads: of torch; None keeps torch's own choice.
        timeout: seconds that the start may take.
    Raises:
        ServerError: the server ended or did not answer in time.
    """
    with tempfile.TemporaryDirectory(prefix="comfyui-", ignore_cleanup_errors=True) as temporary:
        base = Path(base_dir or temporary).resolve()
        for folder in ("user", "input", "output", "custom_nodes", *(f"models/{name}" for name in MODEL_FOLDERS)):
            (base / folder).mkdir(parents=True, exist_ok=True)
        if pack:
            install(base / "custom_nodes", test_nodes)
        port = port or _free_port()
        command = [sys.executable, str(Path(host_dir) / "main.py"), "--cpu", "--use-pytorch-cross-attention"]
        command += ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
        command += ["--database-url", f"sqlite:///{(base / 'user' / 'comfyui.db').as_posix()}"]
        command += ["--disable-auto-launch", "--disable-api-nodes", *arguments]
        environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
        # Nothing here may reach for the network.
        environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        log_path = base / "server.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                command, cwd=base, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        server = Server(f"http://127.0.0.1:{port}", base, log_path, process)
        try:
            _wait_until_ready(server, timeout)
            yield server
        finally:
            _stop(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(server: Server, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if server.process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{server.url}/system_stats", timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    tail = "\n".join(server.log().splitlines()[-30:])
    raise ServerError(f"ComfyUI did not start at {server.url}; the end of its log:\n{tail}")


def _stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> None:
    """``nox -s serve``: one server for trying the pack in a browser; what is saved there stays."""
    from tests.hosting.provision import cache_dir

    parser = argparse.ArgumentParser(prog="nox -s serve --")
    parser.add_argument("--port", type=int, default=8188)
    options = parser.parse_args()
    with serve(os.environ["COMFYUI_PATH"], cache_dir() / "serve", test_nodes=True, port=options.port) as server:
        print(f"ComfyUI with ReCache: {server.url}\nFolder: {server.base}\nCtrl-C stops it.", flush=True)
        try:
            server.process.wait()
        except KeyboardInterrupt:
            print("Stopping.")
        else:
            raise ServerError(f"ComfyUI ended by itself; see {server.log_path}.")


if __name__ == "__main__":
    main()
