"""What the registry gets and a user installs: complete, without what is only for development, and safe to install."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tomllib
from PIL import Image

from tests.hosting.client import Client
from tests.hosting.server import PACK, install, serve
from tests.hosting.session import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
# What an artist has and a node pack must leave alone.
NEVER_MOVED = {"torch", "torchvision", "torchaudio", "numpy", "transformers", "safetensors", "scipy", "pillow"}


def git(*arguments: str) -> set[str]:
    """The files of the checkout that ``git ls-files`` names; skips the test where it is not a git checkout."""
    found = subprocess.run(["git", "-C", str(ROOT), "ls-files", *arguments], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("not a git checkout")
    return set(found.stdout.splitlines())


@pytest.fixture(scope="module")
def unpacked(request, tmp_path_factory) -> Path:
    """The pack in an otherwise empty ``custom_nodes``: the archive of ``nox -s pack``, or the same files."""
    custom_nodes = tmp_path_factory.mktemp("clean") / "custom_nodes"
    custom_nodes.mkdir()
    archive = request.config.getoption("--archive")
    if archive:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(custom_nodes / PACK)
    else:
        install(custom_nodes)
    return custom_nodes / PACK


def test_it_has_the_files_that_the_packer_takes(unpacked):
    # The packer takes what git tracks and .comfyignore does not name; a new file counts as tracked here.
    listed = git("--cached", "--others", "--exclude-standard")
    ignored = git("--cached", "--others", "--ignored", "--exclude-from=.comfyignore")
    assert {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()} == listed - ignored


def test_nothing_for_development_is_inside(unpacked):
    assert {path.name for path in unpacked.iterdir()} == {
        "LICENSE", "README.md", "__init__.py", "pyproject.toml", "requirements.txt",
        "caching", "locales", "nodes", "policies", "web", "workflows"}
    assert not [*unpacked.rglob("test*"), *unpacked.rglob("demo*")]
    assert sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file()) < 4_000_000


def test_it_works_in_a_clean_comfyui(unpacked, host_path):
    with serve(host_path, unpacked.parent.parent, pack=False) as server, Client(server.url) as client:
        assert server.imported().get(PACK) is True, server.log()
        assert server.complaints() == []
        assert client.object_info("ReCacheBudget")["python_module"] == f"custom_nodes.{PACK}"
        scripts = {f"/extensions/{PACK}/{path.name}" for path in ROOT.glob("web/*.js")}
        assert scripts
        assert scripts <= set(client.get("/extensions"))
        assert client.get("/i18n")["ja"]["recache"]
        assert set(client.get("/workflow_templates")[PACK]) == {path.stem for path in ROOT.glob("workflows/*.json")}


def test_requirements_agree():
    assert PROJECT["project"]["dependencies"] == REQUIREMENTS


def test_installing_moves_nothing_that_comfyui_has():
    """pip, asked for the requirements alone, takes everything that is there as it is."""
    plan = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "-r", str(ROOT / "requirements.txt")],
        capture_output=True, text=True)
    assert plan.returncode == 0, plan.stderr
    assert "Would install" not in plan.stdout


def test_requirements_are_no_pins():
    names, bounds = zip(*(re.fullmatch(r"([\w-]+)(.*)", requirement).groups() for requirement in REQUIREMENTS))
    assert not NEVER_MOVED.intersection(names)
    assert all(re.fullmatch(r">=[\d.]+", bound) for bound in bounds)


def test_the_registry_can_show_it():
    project, comfy = PROJECT["project"], PROJECT["tool"]["comfy"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert (ROOT / project["license"]["file"]).is_file()
    assert comfy.keys() >= {"PublisherId", "DisplayName", "Icon", "Banner", "requires-comfyui"}
    for key, (width, height) in {"Icon": (400, 400), "Banner": (1260, 540)}.items():
        path = comfy[key].split("/main/")[1]
        with Image.open(ROOT / path) as image:
            assert image.size == (width, height)
    assert project["version"] in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
