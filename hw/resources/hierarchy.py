"""The modules of a design in RTLIL, cut into units that are small enough to be synthesized, each distinct one once."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

#: A module with everything below it is one unit while its text is not longer than this.
FLAT_TEXT = 1 << 20
_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end$", re.DOTALL | re.MULTILINE)
_CELL = re.compile(r"^  cell (\\\S+) (\S+)$", re.MULTILINE)
_PORT = re.compile(r"^  wire .*(?:input|output|inout) \d+ +(?:signed +)?(\\\S+)$", re.MULTILINE)
_DECLARED = re.compile(r"^  (?:wire|memory)(?: +\S+)* +([\\$]\S+)$|^  (?:cell|process) (?:\S+ )?([\\$]\S+)$", re.MULTILINE)
_NAME = re.compile(r"[\\$][^\s\]\[{}]+")
_CONNECT = re.compile(r"^    connect (\\\S+) ", re.MULTILINE)
#: What simulations watch; on a board it is left open, and what feeds it alone is nothing.
_TRACE = re.compile(r"^(  wire .*)output \d+ +((?:signed +)?\\trace_\S+)$", re.MULTILINE)
_TRACE_CONNECT = re.compile(r"^    connect \\trace_.*\n", re.MULTILINE)


@dataclass(frozen=True)
class Unit:
    """What is synthesized by itself."""

    #: The RTLIL text; the module to synthesize is called ``top``.
    text: str
    #: Of each of the units below it that it has as black boxes, how many.
    boxes: tuple[tuple[str, int], ...]
    #: The module's name, of several equal ones the first one's.
    name: str


class Hierarchy:
    """A design's modules, without what simulations watch.

    Parameters
    ----------
    rtlil : str
        Text of the whole design.
    """

    def __init__(self, rtlil: str):
        self._text = {found[1]: _TRACE_CONNECT.sub("", _TRACE.sub(r"\1\2", found[0])) for found in _MODULE.finditer(rtlil)}
        self._below = {
            name: [kind for kind, _ in _CELL.findall(text) if kind in self._text] for name, text in self._text.items()
        }
        self._sizes: dict[str, int] = {}
        self._hashes: dict[str, str] = {}
        self._names: dict[str, dict[str, str]] = {}

    @cached_property
    def top(self) -> str:
        """The module that no other one contains."""
        (top,) = self._text.keys() - {kind for below in self._below.values() for kind in below}
        return top

    def units(self) -> Iterator[tuple[Unit, list[str]]]:
        """The distinct units, and the names of the modules that each stands for."""
        names: dict[str, list[str]] = {}
        for name in self._walk(self.top):
            names.setdefault(self._hash(name), []).append(name)
        for found in names.values():
            yield self._unit(found[0]), found

    def _walk(self, name: str) -> Iterator[str]:
        yield name
        if not self._is_flat(name):
            for kind in self._below[name]:
                yield from self._walk(kind)

    def _hash(self, name: str) -> str:
        """Equal for modules that differ in nothing but names."""
        if name not in self._hashes:
            self._hashes[name] = hashlib.sha256(self._canonical(name).encode()).hexdigest()[:16]
        return self._hashes[name]

    def _is_flat(self, name: str) -> bool:
        return self._size(name) <= FLAT_TEXT or not self._below[name]

    def _size(self, name: str) -> int:
        if name not in self._sizes:
            self._sizes[name] = len(self._text[name]) + sum(self._size(kind) for kind in self._below[name])
        return self._sizes[name]

    def _numbered(self, name: str) -> dict[str, str]:
        """A module's own names and a number for each."""
        if name not in self._names:
            declared = (one or other for one, other in _DECLARED.findall(self._text[name]))
            self._names[name] = {found: f"\\{number}" for number, found in enumerate(dict.fromkeys(declared))}
        return self._names[name]

    def _canonical(self, name: str) -> str:
        """The text with numbers for names."""
        own, text = self._numbered(name), self._text[name].replace(f"module {name}\n", "module \\top\n", 1)

        def cell(found: re.Match[str]) -> str:
            kind = found[1]
            if kind not in self._text:
                return found[0]
            ports = self._numbered(kind)
            body = _CONNECT.sub(lambda port: f"    connect .{ports[port[1]][1:]} ", found[0])
            return body.replace(f"cell {kind} ", f"cell .{self._hash(kind)} ", 1)

        text = re.sub(r"^  cell (\\\S+) .*?^  end$", cell, text, flags=re.DOTALL | re.MULTILINE)
        return _NAME.sub(lambda found: own.get(found[0], found[0]), text)

    def _unit(self, name: str) -> Unit:
        text = self._text[name].replace(f"module {name}\n", "module \\top\n", 1)
        if self._is_flat(name):
            return Unit("\n".join([text, *(self._text[kind] for kind in self._all_below(name))]), (), name)
        below = list(dict.fromkeys(self._below[name]))
        boxes = Counter(self._below[name])
        return Unit("\n".join([text, *map(self._box, below)]), tuple(boxes.items()), name)

    def _all_below(self, name: str) -> list[str]:
        found: dict[str, None] = {}
        for kind in self._below[name]:
            found.update(dict.fromkeys([kind, *self._all_below(kind)]))
        return list(found)

    def _box(self, name: str) -> str:
        ports = "\n".join(found[0] for found in _PORT.finditer(self._text[name]))
        return f"attribute \\blackbox 1\nmodule {name}\n{ports}\nend"
