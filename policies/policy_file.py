"""Policy files on disk: written whole or not at all, and read from their folder only (see policy_format)."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from .policy_format import MAX_BYTES, About, PolicyFile, PolicyFileError, decode, encode, wrong

__all__ = [
    "MAX_BYTES", "SUFFIX", "About", "PolicyFile", "PolicyFileError", "inside", "load", "load_bytes", "read_bytes",
    "save", "save_bytes"]

SUFFIX = ".safetensors"


def inside(folder: str | os.PathLike, name: str | os.PathLike) -> Path:
    """The path of a policy file in `folder`, with symlinks resolved; `name` may contain folders.

    Raises:
        PolicyFileError: a path that leads out of the folder, or does not end in .safetensors.
    """
    try:
        root = Path(folder).resolve()
        path = (root / name).resolve()
    except (OSError, ValueError, RuntimeError) as error:
        raise wrong(name, "has a name that can't be a path; choose another name") from error
    if not path.is_relative_to(root) or path == root:
        raise wrong(name, "is outside the policy folder; put the file into models/recache")
    if path.suffix != SUFFIX:
        raise wrong(name, f"is no policy file, because its name does not end in {SUFFIX}")
    return path


def save(path: str | os.PathLike, file: PolicyFile) -> None:
    """Write a policy file atomically: `path` is the old file or the whole new one, never a part.

    Raises:
        PolicyFileError: the policy or its metadata is outside the limits of the format, or the file can't be written.
    """
    save_bytes(path, encode(file, Path(path).name))


def save_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Write the bytes of a policy file after checking them as `load` does; see `save`."""
    path = Path(path)
    decode(content, path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise wrong(path.name, f"can't be written ({error.strerror})") from error


def load(path: str | os.PathLike, folder: str | os.PathLike) -> PolicyFile:
    """Read a policy file in `folder` (see `inside`).

    Raises:
        PolicyFileError: anything that is not a whole, unchanged, plausible policy file of a known format version.
    """
    return decode(read_bytes(path, folder), inside(folder, path).name)


def load_bytes(content: bytes, name: str | os.PathLike) -> PolicyFile:
    """A policy file from its bytes; see `load`. `name` is for errors."""
    return decode(content, Path(name).name)


def read_bytes(path: str | os.PathLike, folder: str | os.PathLike) -> bytes:
    """The bytes of a file in `folder` (see `inside`), not checked.

    Raises:
        PolicyFileError: it can't be read, or is bigger than any policy file.
    """
    path = inside(folder, path)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise wrong(path.name, "is not a file")
        if status.st_size > MAX_BYTES:
            raise wrong(path.name, "is too big to be a policy file; choose one that ReCache saved")
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise wrong(path.name, f"can't be read ({error.strerror})") from error
