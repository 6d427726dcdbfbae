"""Files and directories appear whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from triovit import files
from triovit.errors import UserError


def names(directory: Path) -> list[str]:
    return sorted(entry.name for entry in directory.iterdir())


def test_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    files.write_text(path, "one")
    files.write_text(path, "two")
    assert path.read_text() == "two"
    assert names(path.parent) == ["a.txt"]


def test_file_has_ordinary_permissions(tmp_path):
    path = tmp_path / "a"
    files.write_bytes(path, b"")
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_failure_in_the_middle_of_a_file_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_failed_rename_leaves_the_old_file(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(UserError) as caught:
        files.write_text(path, "new")
    assert str(caught.value) == f"{path}: cannot be written (No space left on device); choose another place"
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_file_below_a_file_is_the_users_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        files.write_text(tmp_path / "file" / "a.txt", "")
    assert str(caught.value) == f"{tmp_path}/file/a.txt: cannot be written (File exists); choose another place"


def test_json_is_deterministic_and_refuses_nan(tmp_path):
    path = tmp_path / "a.json"
    files.write_json(path, {"b": 1, "a": [1.5]})
    assert json.loads(path.read_text()) == {"b": 1, "a": [1.5]}
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(path, float("nan"))
    assert json.loads(path.read_text()) == {"b": 1, "a": [1.5]}


def fill(directory: Path, text: str) -> None:
    (directory / "manifest.json").write_text(text)
    (directory / "sub").mkdir()
    (directory / "sub" / text).write_text(text)


def test_directory_is_written_and_replaced(tmp_path):
    path = tmp_path / "deep" / "out"
    for text in ("one", "two"):
        with files.atomic_directory(path, "manifest.json") as directory:
            fill(directory, text)
    assert names(path) == ["manifest.json", "sub"]
    assert names(path / "sub") == ["two"]
    assert names(path.parent) == ["out"]


def test_failure_in_the_middle_of_a_directory_leaves_the_old_one(tmp_path):
    path = tmp_path / "out"
    with files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, "old")
    with pytest.raises(RuntimeError), files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, "new")
        raise RuntimeError
    assert names(path / "sub") == ["old"]
    assert names(tmp_path) == ["out"]


def test_failure_of_a_first_directory_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_directory(tmp_path / "out", "manifest.json") as directory:
        fill(directory, "new")
        raise RuntimeError
    assert names(tmp_path) == []


def test_failed_rename_brings_the_old_directory_back(tmp_path, monkeypatch):
    path = tmp_path / "out"
    with files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, "old")
    rename = os.rename

    def fail(source: Path, target: Path) -> None:
        if str(source).endswith(".part"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(files.os, "rename", fail)
    with pytest.raises(UserError) as caught, files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, "new")
    assert str(caught.value) == f"{path}: cannot be written (No space left on device); choose another place"
    assert names(path / "sub") == ["old"]
    assert names(tmp_path) == ["out"]


def test_foreign_directory_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(UserError) as caught, files.atomic_directory(tmp_path, "manifest.json"):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: exists, is not empty and holds no manifest.json, so it is not replaced; choose another directory"
    )
    assert names(tmp_path) == ["thesis.tex"]


def test_directory_of_another_kind_is_not_replaced(tmp_path):
    path = tmp_path / "out"
    with files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, '{"schema": "one"}')
    with pytest.raises(UserError) as caught, files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, '{"schema": "two"}')
    assert str(caught.value) == f"{path}: exists and holds a one, which a two does not replace; choose another directory"
    assert (path / "manifest.json").read_text() == '{"schema": "one"}'
    assert names(tmp_path) == ["out"]


def test_file_in_a_directorys_place_is_not_replaced(tmp_path):
    path = tmp_path / "out"
    path.write_text("")
    with pytest.raises(UserError) as caught, files.atomic_directory(path, "manifest.json"):
        pass
    assert str(caught.value) == f"{path}: exists and is not a directory; choose another name"


def test_empty_directory_is_replaced(tmp_path):
    path = tmp_path / "out"
    path.mkdir()
    with files.atomic_directory(path, "manifest.json") as directory:
        fill(directory, "new")
    assert names(path / "sub") == ["new"]
