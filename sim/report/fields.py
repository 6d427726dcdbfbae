"""Reading a report's JSON field by field, so that whatever is wrong is named."""

import json
from pathlib import Path
from typing import Any

from triovit.errors import UserError

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false", list: "a list", dict: "an object"}


def _drawable(value: float) -> bool:
    """Neither infinite, nor no number, nor a whole number beyond what a float holds."""
    return -1e300 < value < 1e300


class Fields:
    """The fields of a JSON object, each with the type that it must have."""

    def __init__(self, value: object, where: str, remedy: str) -> None:
        if not isinstance(value, dict):
            raise UserError(f"{where} is not an object; {remedy}")
        self._value: dict[str, Any] = value
        self.where, self._remedy = where, remedy

    def fail(self, name: str, problem: str) -> UserError:
        """What to raise about a field."""
        return UserError(f"{self.where}: field {name} {problem}; {self._remedy}")

    def get(self, name: str, kind: type) -> Any:
        """The field; a whole number passes for a float."""
        if name not in self._value:
            raise self.fail(name, "is missing")
        value = self._value[name]
        accepted = type(value) is kind or (kind is float and type(value) is int)
        if not accepted or (kind is float and not _drawable(value)):
            raise self.fail(name, f"must be {_WORDS[kind]}")
        return value

    def count(self, name: str) -> int:
        """A whole number that is not negative."""
        value: int = self.get(name, int)
        if value < 0:
            raise self.fail(name, f"is {value}, and must not be negative")
        return value

    def optional(self, name: str, kind: type) -> Any:
        """The field, or None where it is null."""
        return None if name in self._value and self._value[name] is None else self.get(name, kind)

    def share(self, name: str) -> float | None:
        """A number in [0, 1], or None."""
        value: float | None = self.optional(name, float)
        if value is not None and not 0 <= value <= 1:
            raise self.fail(name, f"is {value}, and must lie in 0..1")
        return value

    def objects(self, name: str) -> "list[Fields]":
        """A list of objects."""
        entries = enumerate(self.get(name, list))
        return [Fields(entry, f"{self.where}: {name}[{index}]", self._remedy) for index, entry in entries]

    def object(self, name: str) -> "Fields":
        """An object."""
        return Fields(self.get(name, dict), f"{self.where}.{name}", self._remedy)

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self.get(name, list)
        if not all(type(value) in (int, float) and _drawable(value) for value in values):
            raise self.fail(name, "must be a list of numbers")
        return tuple(map(float, values))


def read_fields(path: Path, remedy: str) -> Fields:
    """The object in a JSON file; ``remedy`` ends every message about it.

    Raises
    ------
    UserError
        The file is missing, or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; {remedy}") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the permissions") from error
    except ValueError as error:
        raise UserError(f"{path}: is no readable JSON ({error}); {remedy}") from error
    return Fields(value, str(path), remedy)
