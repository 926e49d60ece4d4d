"""Fixtures of the whole suite. Tests that name ``host`` run in a real ComfyUI; the others need none."""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

# The checkout is not on sys.path, where its nodes/ would hide ComfyUI's nodes.py; ComfyUI has a package
# "tests" of its own.
_tests = ModuleSpec("tests", None, is_package=True)
_tests.submodule_search_locations.append(str(Path(__file__).parent))
sys.modules["tests"] = module_from_spec(_tests)

from tests.hosting import session  # noqa: E402

session.alias_pack()


HOST = pytest.StashKey[session.Host]()
THREADS = 1  # of torch: the models are tiny, so that threads wait for each other longer than they work


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--host-path",
        default=os.environ.get("COMFYUI_PATH"),
        help="the ComfyUI folder that the tests run in (default: $COMFYUI_PATH)",
    )
    parser.addoption("--archive", help="the packed node (node.zip) to test; default: the files that would be packed")


def pytest_configure(config: pytest.Config) -> None:
    # pytest meets the option before this file defines it, and takes a separate value for a folder of tests.
    if "--host-path" in config.invocation_params.args:
        raise pytest.UsageError("Write --host-path=FOLDER, with an equals sign.")
    # Started before collection, so that tests can import the engine, and with it the host, at their top.
    path = config.getoption("--host-path")
    only_distributes = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if path and not only_distributes:
        base = TemporaryDirectory(prefix="comfyui-")
        config.add_cleanup(base.cleanup)
        config.stash[HOST] = session.start(path, base.name, threads=THREADS)


@pytest.fixture(scope="session")
def host_path(request: pytest.FixtureRequest) -> Path:
    """The folder of ComfyUI's main.py."""
    path = request.config.getoption("--host-path")
    if not path:
        pytest.fail("No ComfyUI: run `nox -s test`, or give --host-path=FOLDER.", pytrace=False)
    return Path(path).resolve()


@pytest.fixture(scope="session")
def host(host_path: Path, request: pytest.FixtureRequest) -> session.Host:
    """A real ComfyUI in this process, on the CPU: ``.version``, ``.path``, ``.base``, ``.models``."""
    return request.config.stash[HOST]


@pytest.fixture
def models_dir(host) -> Path:
    """The host's models folder (``diffusion_models``, ``vae``, ...): what a test writes there, the loaders see."""
    return host.models


@pytest.fixture(scope="session")
def server(host_path: Path):
    """A real ComfyUI server with the pack and the test nodes installed; one for the whole suite."""
    from tests.hosting.server import serve

    with serve(host_path, test_nodes=True, threads=THREADS) as running:
        yield running


@pytest.fixture
def client(server):
    """A client of ``server``."""
    from tests.hosting.client import Client

    with Client(server.url) as connected:
        yield connected


@pytest.fixture(scope="session")
def newest_server(host_path: Path):
    """Like ``server``, with the newest release of ComfyUI's page."""
    from tests.hosting import provision
    from tests.hosting.server import serve

    folder = provision.frontend(sys.executable)
    with serve(host_path, test_nodes=True, threads=THREADS, arguments=["--front-end-root", str(folder)]) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium. Of one module only: while it runs, this thread can start no event loop of its own."""
    from tests.hosting.browser import launch, missing_browser

    missing = missing_browser()
    if missing and os.environ.get("CI", "").lower() == "true":
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)
    with launch() as running:
        yield running


@pytest.fixture
def renderer(request: pytest.FixtureRequest) -> str:
    """Which node renderer ``page`` has (tests.hosting.browser.RENDERERS)."""
    return getattr(request, "param", "classic")


@pytest.fixture
def frontend(request: pytest.FixtureRequest) -> str:
    """Which frontend ``page`` has: the host's ("pinned") or the "newest" (tests.hosting.browser.FRONTENDS)."""
    return getattr(request, "param", "pinned")


@pytest.fixture
def page(browser, renderer: str, frontend: str, request: pytest.FixtureRequest):
    """ComfyUI's page with an empty workflow, in a fresh tab; whatever it complains about fails the test."""
    from tests.hosting.browser import comfy_page

    running = request.getfixturevalue("newest_server" if frontend == "newest" else "server")
    with comfy_page(browser, running.url, renderer) as opened:
        yield opened
        complaints = opened.complaints()
    assert complaints == []
