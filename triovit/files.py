"""Files and directories that appear whole or not at all: written beside their place, then renamed."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from triovit.errors import UserError


@contextmanager
def atomic_file(path: Path | str) -> Iterator[BinaryIO]:
    """A binary file to write that takes ``path``'s place when the block ends well.

    The bytes reach the disk before the name does. When the block raises, ``path`` is as it was and nothing is left beside it.

    Raises
    ------
    UserError
        The file cannot be written; the message names it and the system's reason.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_umask())
        try:
            os.replace(beside, path)
        except OSError as error:
            raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
        _sync_directory(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path``, whole or not at all."""
    with atomic_file(path) as file:
        file.write(data)


def write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, whole or not at all."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Write ``value`` as JSON to ``path``, whole or not at all: the same value gives the same bytes."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


@contextmanager
def atomic_directory(path: Path | str, marker: str) -> Iterator[Path]:
    """A new directory to fill that takes ``path``'s place when the block ends well.

    A directory already at ``path`` is replaced only when it is empty or holds the file ``marker``, which tells that an earlier
    run made it; so a slip of the keyboard costs nobody a home directory. When the block raises, ``path`` is as it was.

    Raises
    ------
    UserError
        ``path`` is something else, or cannot be written.
    """
    path = Path(path)
    _check_replaceable(path, marker)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    try:
        yield beside
        _sync_tree(beside)
        beside.chmod(0o777 & ~_umask())
        _swap(beside, path)
        _sync_directory(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _check_replaceable(path: Path, marker: str) -> None:
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise UserError(f"{path}: exists and is not a directory; choose another name")
    if any(path.iterdir()) and not (path / marker).is_file():
        raise UserError(f"{path}: exists, is not empty and holds no {marker}, so it is not replaced; choose another directory")


def _swap(new: Path, path: Path) -> None:
    """Put ``new`` in the place of ``path``; the old directory comes back if that fails."""
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
    try:
        held = path.is_dir()
        if held:
            os.rename(path.resolve(), old / "directory")
        try:
            os.rename(new, path.resolve())
        except OSError as error:
            if held:
                os.rename(old / "directory", path.resolve())
            raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sync_tree(directory: Path) -> None:
    for root, _, names in os.walk(directory):
        for name in names:
            with (Path(root) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_directory(Path(root))


def _sync_directory(directory: Path) -> None:
    with suppress(OSError):  # some file systems cannot sync a directory; the names are then as safe as they make them
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
