"""The development commands; ``nox -l`` lists them. Only nox is needed: they make the rest on first use."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

import nox

ROOT = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "tests" / "hosting"), str(ROOT / "tests" / "reliability")]

import document  # noqa: E402
import provision  # noqa: E402

nox.options.sessions = ["lint", "test"]
PYTEST = ("-m", "pytest", "-c", "tests/pytest.ini", "--rootdir", "tests")
# A file's tests share models, so a file goes to one process; tests/conftest.py says which begin first.
WHOLE = ("tests", "--numprocesses=2", "--dist=loadfile", "--no-loadscope-reorder")
# All commands share one environment outside the checkout: torch alone takes gigabytes.
nox.options.default_venv_backend = "none"


def take_option(arguments: list[str], name: str) -> str | None:
    """Takes ``name VALUE`` or ``name=VALUE`` out of the arguments."""
    for i, argument in enumerate(arguments):
        if argument.startswith(f"{name}="):
            del arguments[i]
            return argument.split("=", 1)[1]
        if argument == name and i + 1 < len(arguments):
            del arguments[i]
            return arguments.pop(i)
    return None


def run(session: nox.Session, *command: str, arguments: list[str], success_codes: Iterable[int] = (0,)) -> None:
    """Runs Python in the shared environment, with the chosen ComfyUI in ``COMFYUI_PATH``."""
    try:
        host = provision.host(take_option(arguments, "--host"))
        python = provision.environment()
    except provision.ProvisionError as error:
        session.error(str(error).rstrip("."))
    session.run(str(python), *command, *arguments, env={"COMFYUI_PATH": str(host)}, external=True,
                success_codes=success_codes)


def run_tests(session: nox.Session, arguments: list[str], *more: str, success_codes: Iterable[int] = (0,)) -> None:
    """Runs pytest on the files that the arguments name, or on all."""
    try:
        provision.browser()
    except provision.ProvisionError as error:
        session.error(str(error).rstrip("."))
    whole = () if any(argument.startswith("tests/") for argument in arguments) else WHOLE
    run(session, *PYTEST, *whole, *more, arguments=arguments, success_codes=success_codes)


@nox.session
def demo(session: nox.Session) -> None:
    """Run the demo: real workflows through a real server, a contact sheet and a table."""
    run(session, "tests/run.py", "demo", arguments=list(session.posargs))


@nox.session
def fuzz(session: nox.Session) -> None:
    """Send hostile policies and requests: [--minutes N] [--targets NAME ...] [--write]."""
    run(session, "tests/run.py", "reliability.fuzz", arguments=list(session.posargs))


@nox.session
def soak(session: nox.Session) -> None:
    """Run hundreds of mixed prompts on one server, some of them cancelled: [--prompts N] [--write]."""
    run(session, "tests/run.py", "reliability.soak", arguments=list(session.posargs))


@nox.session
def faults(session: nox.Session) -> None:
    """Raise an error at every point of a run, one after the other: [--settings NAME ...] [--every N] [--write]."""
    run(session, "tests/run.py", "reliability.faults", arguments=list(session.posargs))


@nox.session
def compositions(session: nox.Session) -> None:
    """Run ReCache with everything that is combined with it, and print a matrix: [names] [--write]."""
    run(session, "tests/run.py", "reliability.matrix", arguments=list(session.posargs))


@nox.session
def test(session: nox.Session) -> None:
    """Run the tests: [--host VERSION] [pytest arguments]."""
    run_tests(session, list(session.posargs))


def row(version: str, report: Path) -> tuple[list, bool]:
    """A row of the matrix of hosts from pytest's report, and whether all passed."""
    count = {name: int(value) for name, value in ElementTree.parse(report).find("testsuite").items()
             if name in ("tests", "failures", "errors", "skipped")}
    failed = count["failures"] + count["errors"]
    passed = count["tests"] - failed - count["skipped"]
    return [version, passed, failed, count["skipped"]], passed > 0 and not failed


def tested_commit(session: nox.Session) -> str:
    """The checkout's commit, with "-dirty" where anything but the docs has changed, which tables are written into."""
    commit = session.run("git", "rev-parse", "--short", "HEAD", external=True, silent=True).strip()
    changed = session.run("git", "status", "--porcelain", "--", ".", ":!docs", external=True, silent=True).strip()
    return f"{commit}-dirty" if changed else commit


@nox.session
def hosts(session: nox.Session) -> None:
    """Run the tests on every supported ComfyUI, and print a matrix: [--host VERSION] [--write] [pytest arguments].

    --host runs them on one. With --write the rows go into docs/reliability.md, each with the commit that was tested.
    """
    arguments = list(session.posargs)
    chosen = take_option(arguments, "--host")
    writes = "--write" in arguments
    if writes:
        arguments.remove("--write")
        commit = tested_commit(session)
    rows, all_passed = [["ComfyUI", "passed", "failed", "skipped"]], True
    for version in [chosen] if chosen else provision.HOSTS:
        report = Path(session.create_tmp(), f"{version}.xml").resolve()
        report.unlink(missing_ok=True)
        run_tests(session, ["--host", version, *arguments], f"--junit-xml={report}", success_codes=range(6))
        if not report.exists():
            session.error(f"The tests did not run on ComfyUI {version}")
        found, good = row(version, report)
        all_passed &= good
        rows.append(found)
        if writes:
            document.write_rows("hosts", [[*rows[0], "commit"], [*found, commit]])
    print(document.table(rows))
    if not all_passed:
        session.error("Not all tests passed on all of them")


@nox.session
def bench(session: nox.Session) -> None:
    """Run one benchmark: NAME [--json FILE] [--host VERSION]."""
    arguments = list(session.posargs)
    modules = (ROOT / "tests" / "bench").glob("[a-z]*.py")
    names = sorted(path.stem for path in modules if "__main__" in path.read_text(encoding="utf-8"))
    if not arguments or arguments[0] not in names:
        session.error(f"Name a benchmark: {', '.join(names) or 'there is none yet'}")
    run(session, "tests/run.py", f"bench.{arguments.pop(0)}", arguments=arguments)


@nox.session
def workflows(session: nox.Session) -> None:
    """Make the files in workflows/ anew, through ComfyUI's own page: [parts of their names]."""
    run(session, "tests/run.py", "authoring.make", arguments=list(session.posargs))


@nox.session
def animation(session: nox.Session) -> None:
    """Make the README's animated picture anew, from screenshots of ComfyUI's page."""
    run(session, "tests/run.py", "authoring.animation", arguments=list(session.posargs))


@nox.session
def pictures(session: nox.Session) -> None:
    """Make the architecture page's pictures of Compare and Frontier anew: [compare] [frontier]."""
    run(session, "tests/run.py", "authoring.pictures", arguments=list(session.posargs))


@nox.session(venv_backend="venv")
def pack(session: nox.Session) -> None:
    """Validate the pack and pack node.zip with the registry's own tool, then try the archive in a clean ComfyUI."""
    session.install("comfy-cli==1.23.0")
    quiet = {"DO_NOT_TRACK": "1"}
    session.run("comfy", "--skip-prompt", "node", "validate", env=quiet)
    session.run("comfy", "--skip-prompt", "node", "pack", env=quiet)
    run(session, *PYTEST, "tests/test_package.py", arguments=[f"--archive={ROOT / 'node.zip'}", *session.posargs])


@nox.session
def serve(session: nox.Session) -> None:
    """Start ComfyUI with the pack installed, on this machine only; Ctrl-C stops it: [--host VERSION] [--port N]."""
    run(session, "tests/run.py", "hosting.server", arguments=list(session.posargs))


@nox.session
def lint(session: nox.Session) -> None:
    """Check the style: [ruff arguments, like --fix]."""
    run(session, "-m", "ruff", "check", ".", arguments=list(session.posargs))
