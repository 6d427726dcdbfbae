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

    A directory already at ``path`` is replaced only when it is empty or holds the file ``marker`` with the schema of the new one,
    which tells that an earlier run of the same kind made it; so a slip of the keyboard costs nobody a home directory, nor the
    network that was to be generated. When the block raises, ``path`` is as it was.

    Raises
    ------
    UserError
        ``path`` is something else, or cannot be written.
    """
    path = Path(path)
    check_place(path, marker)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another place") from error
    try:
        yield beside
        check_place(path, marker, _schema(beside / marker))
        _sync_tree(beside)
        beside.chmod(0o777 & ~_umask())
        _swap(beside, path)
        _sync_directory(path.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def check_place(path: Path, marker: str | None = None, schema: str | None = None) -> None:
    """Refuse a place where no directory can appear, before hours of work go into it.

    With ``marker`` the directory is one to replace, and what is there must be as `atomic_directory` says; ``schema`` is that of
    the marker to come, where it is known.

    Raises
    ------
    UserError
        ``path`` or what it lies in is no directory, or ``path`` holds something else.
    """
    there = next(place for place in (path, *path.absolute().parents) if os.path.lexists(place))
    if there == path and not path.is_dir():
        raise UserError(f"{path}: exists and is not a directory; choose another name")
    if not there.is_dir():
        raise UserError(f"{path}: cannot be written ({there} is not a directory); choose another place")
    if marker is None or there != path or not any(path.iterdir()):
        return
    if not (path / marker).is_file():
        raise UserError(f"{path}: exists, is not empty and holds no {marker}, so it is not replaced; choose another directory")
    found = _schema(path / marker)
    if None not in (schema, found) and found != schema:
        raise UserError(f"{path}: exists and holds a {found}, which a {schema} does not replace; choose another directory")


def _schema(marker: Path) -> str | None:
    """What a marker says it marks; None where it says nothing."""
    try:
        described = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    schema = described.get("schema") if isinstance(described, dict) else None
    return schema if isinstance(schema, str) else None


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
