"""The registers as data: what the hardware's slave, the host's driver and docs/register-map.md are made from."""

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from hw.axi.looped_reader import PASSES_BITS
from hw.axi.signature import LITE_ADDRESS_BITS, LITE_BITS
from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR
from hw.control.errors import ErrorCode
from triovit.errors import InternalError

#: Reads "TVIT" when its bytes are written highest first.
ID = 0x5456_4954
#: Version of the register map: major, minor.
VERSION = (1, 3)
#: Bits of a descriptor's index and of the program's length.
INDEX_BITS = 16


class Stall(NamedTuple):
    """A counter of the cycles in which a unit with work waited for something."""

    name: str
    unit: str
    awaited: str
    doc: str


#: In the order of :class:`hw.control.control_unit.ControlUnit`'s ``stalls``.
STALLS = (
    Stall("mat_stalled_weights", "MAT", "weights", "cycles in which MAT had a task and waited for weights"),
    Stall(
        "mat_stalled_results",
        "MAT",
        "room for results, or parameters",
        "cycles in which MAT had a task and waited for room for its results, or parameters",
    ),
    Stall(
        "mat_stalled_pixels",
        "MAT",
        "pixels of R-MAC or LOAD",
        "cycles in which MAT had a task and waited for pixels of R-MAC or LOAD",
    ),
    Stall("rmac_stalled_weights", "R-MAC", "weights", "cycles in which R-MAC had a task of its own and waited for weights"),
    Stall(
        "rmac_stalled_results",
        "R-MAC",
        "room for results, or parameters",
        "cycles in which R-MAC had a task of its own and waited for room for its results, or parameters",
    ),
    Stall("load_stalled_memory", "LOAD", "memory", "cycles in which LOAD could have taken pixels and the memory gave none"),
    Stall(
        "weights_stalled_memory",
        "weight stream",
        "memory",
        "cycles in which the decoder could have taken weights and the memory gave none",
    ),
)


class Access(Enum):
    """What the host can do with a field."""

    CONST = "constant"
    RO = "read only"
    RW = "read, write"
    PULSE = "write 1 to act, reads 0"
    STICKY = "read, write 1 to clear"


@dataclass(frozen=True)
class Field:
    """Some bits of a register; ``name`` is empty where the field is the whole register."""

    name: str
    low: int
    bits: int
    access: Access
    doc: str
    #: Value of a constant, or after reset.
    reset: int = 0


@dataclass(frozen=True)
class Register:
    """One 32-bit word."""

    name: str
    offset: int
    doc: str
    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        position = 0
        for field in self.fields:
            if field.low < position or field.low + field.bits > LITE_BITS:
                raise InternalError(f"register {self.name}: field {field.name or 'value'} overlaps or leaves the word")
            position = field.low + field.bits
        if self.offset % (LITE_BITS // 8) or self.offset >> LITE_ADDRESS_BITS:
            raise InternalError(f"register {self.name}: offset {self.offset:#x} is not a word of the map")


def _address(name: str, config: AcceleratorConfig, doc: str) -> list[tuple[str, str, tuple[Field, ...]]]:
    high = config.axi_address_bits - LITE_BITS
    return [
        (f"{name}_LO", f"{doc}, a multiple of the beat; low word", (Field("", 0, LITE_BITS, Access.RW, "bits 31..0"),)),
        (f"{name}_HI", f"{doc}; high word", (Field("", 0, high, Access.RW, f"bits {config.axi_address_bits - 1}..{LITE_BITS}"),)),
    ]


def _value(name: str, access: Access, doc: str, bits: int = LITE_BITS, reset: int = 0) -> tuple[str, str, tuple[Field, ...]]:
    return name, doc, (Field("", 0, bits, access, doc, reset),)


def register_map(config: AcceleratorConfig) -> tuple[Register, ...]:
    """The registers of a configuration, in the order of their offsets."""
    codes = ", ".join(f"{code.value} {code.name}" for code in ErrorCode)
    code_bits = ErrorCode.as_shape().width
    half = LITE_BITS // 2
    entries: list[tuple[str, str, tuple[Field, ...]]] = [
        _value("ID", Access.CONST, "identifies the accelerator", reset=ID),
        ("VERSION", "version of this map", (
            Field("minor", 0, half, Access.CONST, "compatible additions", VERSION[1]),
            Field("major", half, half, Access.CONST, "incompatible changes", VERSION[0]),
        )),
        ("CTRL", "control", (
            Field("start", 0, 1, Access.PULSE, "start a run; ignored while busy"),
            Field("soft_reset", 1, 1, Access.PULSE, "end the run, clear done and error; wait for busy to fall"),
            Field("irq_enable", 2, 1, Access.RW, "interrupt while done or error"),
        )),
        ("STATUS", "state of the run", (
            Field("busy", 0, 1, Access.RO, "a run is under way, or transfers of an ended one are"),
            Field("done", 1, 1, Access.STICKY, "the program reached its end; a start clears it"),
            Field("error", 2, 1, Access.STICKY, "the run was given up, see ERROR; a start clears it"),
        )),
        ("ERROR", "why the run was given up", (
            Field("code", 0, code_bits, Access.RO, codes),
            Field("index", half, INDEX_BITS, Access.RO, "descriptor last taken when it happened, counted from 0"),
        )),
        *_address("PROGRAM_ADDR", config, "address of the first descriptor"),
        _value("PROGRAM_COUNT", Access.RW, "descriptors of the program, the last one END", INDEX_BITS),
        *_address("WEIGHTS_ADDR", config, "address of the weight stream"),
        _value("WEIGHTS_BEATS", Access.RW, f"beats of {config.beat_bytes} bytes of the weight stream"),
        _value("WEIGHTS_REPEATED", Access.RW, "beats of its first part, which is read once a picture of a run; 0 for none"),
        _value("WEIGHTS_PASSES", Access.RW, "how often the first part is read, before the others are once; 0 as 1", PASSES_BITS),
        *_address("INPUT_ADDR", config, "address of the pictures"),
        *_address("OUTPUT_ADDR", config, "address of the results"),
        _value("WATCHDOG", Access.RW, "cycles without progress that end a run; 0 waits for ever", reset=config.watchdog),
        _value("CYCLES", Access.RO, "cycles of the run, from start to done or error"),
        _value("MAT_BUSY", Access.RO, "cycles in which MAT had a task"),
        _value("RMAC_BUSY", Access.RO, "cycles in which R-MAC had a task, joint ones included"),
        _value("LOAD_BUSY", Access.RO, "cycles in which LOAD had a task"),
        _value("STORE_BUSY", Access.RO, "cycles in which STORE had a task"),
        _value("WEIGHT_BEATS_READ", Access.RO, "beats of the weight stream taken by the decoder"),
        *(_value(stall.name.upper(), Access.RO, stall.doc) for stall in STALLS),
        ("COUNTED_LAYER", "what the counters of MAT, R-MAC, LOAD and STORE are for", (
            Field("tag", 0, DESCRIPTOR["tag"].width, Access.RW, "the layer, by the tag of its descriptors"),
            Field("only", DESCRIPTOR["tag"].width, 1, Access.RW, "count only while the unit's last task is that layer's"),
        )),
    ]
    return tuple(Register(name, index * LITE_BITS // 8, doc, fields) for index, (name, doc, fields) in enumerate(entries))


def to_dict(config: AcceleratorConfig) -> dict[str, dict[str, object]]:
    """The map as plain values, for drivers and manifests."""
    return {
        register.name: {
            "offset": register.offset,
            "doc": register.doc,
            "fields": {
                field.name or "value": {"low": field.low, "bits": field.bits, "access": field.access.value, "reset": field.reset,
                                        "doc": field.doc}
                for field in register.fields
            },
        }
        for register in register_map(config)
    }


def to_markdown(config: AcceleratorConfig) -> str:
    """The text of docs/register-map.md."""
    lines = [
        "# Register map", "",
        f"Generated from `hw/control/register_map.py` for the configuration `{config.name}`. AXI4-Lite, {LITE_BITS}-bit words; "
        "an address that is not listed is answered with SLVERR.", "",
        "| offset | register | bits | field | access | reset | meaning |", "|---|---|---|---|---|---|---|",
    ]
    for register in register_map(config):
        for index, field in enumerate(register.fields):
            bits = str(field.low) if field.bits == 1 else f"{field.low + field.bits - 1}..{field.low}"
            head = f"| {register.offset:#05x} | {register.name} " if index == 0 else "| | "
            meaning = field.doc if field.name else register.doc
            lines.append(f"{head}| {bits} | {field.name or 'value'} | {field.access.value} | {field.reset:#x} | {meaning} |")
    return "\n".join(lines) + "\n"
