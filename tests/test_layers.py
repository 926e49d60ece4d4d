"""The order of the layers: nodes -> caching and policies; neither of those knows the other, nor nodes."""

from __future__ import annotations

import ast

import pytest

from tests.hosting.session import ROOT

HOST = {"comfy", "comfy_api", "comfy_execution", "comfy_extras", "execution", "folder_paths", "nodes", "server"}
OWN = {"caching", "policies", "nodes", "tests", "recache"}
LAYERS = {"caching": {"policies", "nodes", "tests"}, "policies": {"caching", "nodes", "tests"}, "nodes": {"tests"}}


def imports(path):
    """Yields ``(absolute, top, line)`` of every import in a file: ``top`` is the pack's folder if it is relative."""
    depth = len(path.relative_to(ROOT).parts) - 1
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((True, alias.name.split(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield True, node.module.split(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.level > depth:
            names = [node.module.split(".")[0]] if node.module else [alias.name for alias in node.names]
            yield from ((False, name, node.lineno) for name in names)


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_import_in_one_direction_only(layer):
    files = list((ROOT / layer).rglob("*.py"))
    assert files
    wrong = []
    for path in files:
        for absolute, top, line in imports(path):
            reaches_up = not absolute and top in LAYERS[layer]
            own_by_name = absolute and top in OWN - HOST  # breaks: ComfyUI loads the pack under a name of its own
            host = absolute and layer == "policies" and top in HOST
            if reaches_up or own_by_name or host:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {top}")
    assert wrong == []
