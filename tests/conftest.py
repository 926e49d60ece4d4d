"""Fixtures of the whole suite. Tests that name ``host`` run in a real ComfyUI; the others need none."""

from __future__ import annotations

import ast
import os
import sys
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

# The checkout is not on sys.path, where its nodes/ would hide ComfyUI's nodes.py; ComfyUI has a package
# "tests" of its own.
_tests = ModuleSpec("tests", None, is_package=True)
_tests.submodule_search_locations.append(str(Path(__file__).parent))
sys.modules["tests"] = module_from_spec(_tests)

from tests.hosting import session  # noqa: E402

session.alias_pack()


HOST = pytest.StashKey[session.Host]()
LONGEST = ("test_shared_rollouts", "test_training", "test_lifetime", "test_blocks", "test_samplers", "test_rivals",
           "test_conds", "test_mechanism_race", "test_l2p", "test_trained", "test_identity")  # begin first
THREADS = 1  # of torch: the models are tiny, so that threads wait for each other longer than they work


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--host-path",
        default=os.environ.get("COMFYUI_PATH"),
        help="the ComfyUI folder that the tests run in (default: $COMFYUI_PATH)",
    )
    parser.addoption("--all-templates", action="store_true",
                     help="load all of ComfyUI's templates that sample, not only a varied few")
    parser.addoption("--frontend", choices=["pinned", "newest"], default="pinned",
                     help="newest: tests of the page that run with the host's own frontend run with the newest release")
    parser.addoption("--archive", help="the packed node (node.zip) to test; default: the files that would be packed")


@cache
def takers(path: Path, *fixtures: str) -> set[str]:
    """The functions of a test file that take one of the fixtures, themselves or by another one that they name."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    everywhere = {name.value for node in nodes if isinstance(node, ast.Call)
                  and getattr(node.func, "attr", "") == "usefixtures" for name in node.args}
    taken = {node.name: everywhere | {argument.arg for argument in node.args.args}
             for node in nodes if isinstance(node, ast.FunctionDef)}
    found = set(fixtures)
    while more := {name for name, names in taken.items() if names & found} - found:
        found |= more
    return found


def needs_page(path: Path, test: str) -> bool:
    return test in takers(path, "page", "browser")


def needs_server(path: Path, test: str) -> bool:
    return test in takers(path, "server", "client", "page", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that need a server come first, those of the page last of them; tests of one page follow each other."""
    def place(item: pytest.Item) -> tuple:
        path, params = item.path, item.callspec.params if hasattr(item, "callspec") else {}
        rank = LONGEST.index(path.stem) if path.stem in LONGEST else len(LONGEST)
        # To open the page is slow: it is opened once for all files' tests in one renderer and frontend.
        opened = params.get("frontend", "pinned") == "newest", params.get("renderer", "classic")
        test = item.originalname
        return not needs_server(path, test), needs_page(path, test), *opened, rank, str(path)

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Of two processes, one begins with all tests of the host's page, the other with all others that need a server.

    The second goes on with the newest page, which has a server of its own anyway.
    """
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, test = nodeid.split("::")[:2]
            test, _, params = test.partition("[")
            place = config.rootpath / file, test
            if needs_page(*place):
                return "newest page" if "newest" in params else "page"
            return "server" if needs_server(*place) else file

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


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


def pytest_terminal_summary(terminalreporter) -> None:
    """Prints what tests have counted: their property "count"."""
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties:
            if name == "count" and report.when == "call":
                terminalreporter.write_line(value)


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


@pytest.fixture
def node(host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Gives the pack's nodes the id 7, as the executor would, and a user's folder of this test's own."""
    import folder_paths

    from recache.nodes import budget, compare, frontier, train

    hidden = SimpleNamespace(unique_id="7", prompt=None, extra_pnginfo=None)
    for kind in (budget.ReCacheBudget, compare.ReCacheCompare, frontier.ReCacheFrontier, train.ReCacheTrain,
                 train.ReCacheTrainCustom):
        monkeypatch.setattr(kind, "hidden", hidden, raising=False)
    monkeypatch.setattr(folder_paths, "get_user_directory", lambda: str(tmp_path))


@pytest.fixture(scope="session")
def server(host_path: Path):
    """A real ComfyUI server with the pack and the test nodes installed; one for the whole suite."""
    from tests.hosting.server import serve

    with serve(host_path, test_nodes=True, threads=THREADS) as running:
        yield running


@pytest.fixture(scope="session")
def newest_server(host_path: Path):
    """Like ``server``, with the newest release of ComfyUI's page."""
    from tests.hosting import provision
    from tests.hosting.server import serve

    folder = provision.frontend(sys.executable)
    with serve(host_path, test_nodes=True, threads=THREADS, arguments=["--front-end-root", str(folder)]) as running:
        yield running


@pytest.fixture(scope="session")
def browser():
    """A headless Chromium. While it runs this thread can start no other event loop, so its tests come last."""
    from tests.hosting.browser import launch, missing_browser

    missing = missing_browser()
    if missing and os.environ.get("CI", "").lower() == "true":
        pytest.fail(missing, pytrace=False)
    if missing:
        pytest.skip(missing)
    with launch() as running:
        yield running


@pytest.fixture(scope="session")
def kept_page(browser):
    """The page that `page` empties for every test."""
    from tests.hosting.browser import KeptPage

    kept = KeptPage(browser)
    yield kept
    kept.close()


@pytest.fixture
def renderer(request: pytest.FixtureRequest) -> str:
    """Which node renderer ``page`` has (tests.hosting.browser.RENDERERS)."""
    return getattr(request, "param", "classic")


@pytest.fixture
def frontend(request: pytest.FixtureRequest) -> str:
    """Which frontend ``page`` has: the host's ("pinned") or the "newest" (tests.hosting.browser.FRONTENDS)."""
    return "newest" if request.config.getoption("--frontend") == "newest" else getattr(request, "param", "pinned")


@pytest.fixture
def page_server(frontend: str, request: pytest.FixtureRequest):
    """The server of ``page``: ``server``, or ``newest_server`` where the frontend is the newest."""
    return request.getfixturevalue("newest_server" if frontend == "newest" else "server")


@pytest.fixture
def client(page_server):
    """A client of ``page_server``."""
    from tests.hosting.client import Client

    with Client(page_server.url) as connected:
        yield connected


@pytest.fixture
def page(kept_page, renderer: str, page_server, request: pytest.FixtureRequest):
    """ComfyUI's page with an empty workflow; whatever it complains about fails the test. A failure closes it."""
    opened, failed = kept_page.empty(page_server.url, renderer), request.session.testsfailed
    yield opened
    complaints = opened.complaints()
    if complaints or request.session.testsfailed > failed:
        kept_page.close()
    assert complaints == []
