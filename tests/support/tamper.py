"""Faulty versions of hardware units: the unit itself inside a shell that falsifies some of its ports."""

from collections.abc import Callable
from typing import Any

from amaranth import Cat, Module, Signal
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In

#: What happens to a port: from the true value to the false one.
Fault = Callable[[Any], Any]


def tampered(unit: type[wiring.Component], **faults: Fault) -> type[wiring.Component]:
    """A class like ``unit`` whose named ports (inputs as the unit sees them, outputs as others do) go through ``faults``."""

    class Tampered(unit):
        def __init__(self, *args: Any, **kwargs: Any):
            self._arguments = (args, kwargs)
            super().__init__(*args, **kwargs)

        def elaborate(self, platform: object) -> Module:
            m = Module()
            args, kwargs = self._arguments
            m.submodules.inner = inner = unit(*args, **kwargs)
            unused = set(faults)
            for path, member, outer in self.signature.flatten(self):
                port = inner
                for name in path:
                    port = port[name] if isinstance(name, int) else getattr(port, name)
                source, target = (outer, port) if member.flow == In else (port, outer)
                name = "__".join(map(str, path))
                if name in faults:
                    source = faults[name](source)
                    unused.discard(name)
                m.d.comb += Value.cast(target).eq(Value.cast(source))
            assert not unused, f"{unit.__name__} has no ports {unused}"
            return m

    return Tampered


def constant(value: int) -> Fault:
    """The port always has this value."""

    def fault(true: Any) -> Value:
        whole = Value.cast(true)
        return Signal(len(whole), init=value & (1 << len(whole)) - 1)

    return fault


def plus(step: int) -> Fault:
    """The port is off by ``step``."""
    return lambda true: (Value.cast(true) + step)[: len(Value.cast(true))]


def with_field(name: str, fault: Fault) -> Fault:
    """One field of the port is falsified."""

    def whole(true: data.View) -> Value:
        layout = true.shape()
        at = layout[name]
        raw = Value.cast(true)
        false = Value.cast(fault(true[name]))[: at.width]
        low, high = raw[: at.offset], raw[at.offset + at.width :]
        return Cat(low, false, high)

    return whole


class Instead:
    """A struct some of whose fields read differently."""

    def __init__(self, true: Any, **fields: Any):
        self._true, self._fields = true, fields

    def __getattr__(self, name: str) -> Any:
        return self._fields[name] if name in self._fields else getattr(self._true, name)
