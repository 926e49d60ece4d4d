"""The house: short files, short functions, and in ``nodes/`` no helper folder that imports a node."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosting.session import ROOT

MOST_LINES = 250  # of a file
MOST_LINES_OF_A_FUNCTION = 45  # with its docstring
LAYERS = pytest.mark.parametrize("layer", ["caching", "policies", "nodes"])
HELPERS = ("server", "library", "pictures", "training")


def files(folder: str) -> dict[Path, str]:
    """The Python files below a folder of the checkout, and their text."""
    found = {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in sorted((ROOT / folder).rglob("*.py"))}
    assert found
    return found


@LAYERS
def test_files_are_short(layer):
    lines = {path: len(text.splitlines()) for path, text in files(layer).items()}
    assert {path.as_posix(): count for path, count in lines.items() if count > MOST_LINES} == {}


@LAYERS
def test_functions_are_short(layer):
    lines = {f"{path.as_posix()}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
             for path, text in files(layer).items() for node in ast.walk(ast.parse(text))
             if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {where: count for where, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION} == {}


def test_no_merge_was_left_open():
    folders = [ROOT / name for name in ("caching", "docs", "locales", "nodes", "policies", "tests", "web", "workflows")]
    texts = [*ROOT.glob("*.*"), *(path for folder in folders for path in folder.rglob("*.*"))]
    texts = [path for path in texts if path.suffix in (".py", ".js", ".css", ".md", ".json", ".toml", ".txt", ".tsv")]
    marker = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
    assert [path for path in texts if marker.search(path.read_text(encoding="utf-8"))] == []


def imported(path: Path, text: str) -> Iterator[str]:
    """Names like ``nodes.budget``: modules, and what is taken from them, of every relative import of a file."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = [*path.parent.parts[: len(path.parent.parts) + 1 - node.level], *filter(None, [node.module])]
            yield from (".".join([*package, alias.name]) for alias in node.names)


@pytest.mark.parametrize("helpers", HELPERS)
def test_helpers_of_nodes_import_no_node(helpers):
    nodes = [f"nodes.{path.stem}" for path, text in files("nodes").items()
             if len(path.parts) == 2 and "def define_schema(" in text]
    assert len(nodes) >= 5
    wrong = [f"{path.as_posix()} imports {name}" for path, text in files(f"nodes/{helpers}").items()
             for name in imported(path, text) if name.startswith(tuple(f"{node}." for node in nodes)) or name in nodes]
    assert wrong == []


def test_the_top_of_nodes_is_nodes():
    """A folder of helpers each; at the top lie nodes, and at most two files of what they share."""
    folders = {path.name for path in (ROOT / "nodes").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(HELPERS)
    shared = [path.stem for path, text in files("nodes").items()
              if len(path.parts) == 2 and "def define_schema(" not in text and path.stem != "__init__"]
    assert len(shared) <= 2, shared
