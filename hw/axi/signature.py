"""The bus signatures: AXI4 as this design uses it, and AXI4-Lite. Member names are the conventional signal names."""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from hw.config import AcceleratorConfig

#: No burst may cross a multiple of this many bytes (AXI4, A3.4.1).
BOUNDARY = 4096
#: Bits of a burst's length field (AXI4).
LENGTH_BITS = 8
#: Bits of a burst's size field.
SIZE_BITS = 3
#: Bits of an AXI4-Lite word.
LITE_BITS = 32
#: Address bits of the AXI4-Lite slave: one page.
LITE_ADDRESS_BITS = ceil_log2(BOUNDARY)


class Burst(enum.Enum, shape=2):
    """AxBURST; only ``INCR`` is used."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Response(enum.Enum, shape=2):
    """RRESP and BRESP."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _address(prefix: str, bits: int) -> dict[str, wiring.Member]:
    return {
        f"{prefix}valid": Out(1),
        f"{prefix}ready": In(1),
        f"{prefix}addr": Out(bits),
        f"{prefix}len": Out(LENGTH_BITS),
        f"{prefix}size": Out(SIZE_BITS),
        f"{prefix}burst": Out(Burst),
    }


def _read(address_bits: int, data_bits: int) -> dict[str, wiring.Member]:
    return _address("ar", address_bits) | {
        "rvalid": In(1),
        "rready": Out(1),
        "rdata": In(data_bits),
        "rresp": In(Response),
        "rlast": In(1),
    }


def _write(address_bits: int, data_bits: int) -> dict[str, wiring.Member]:
    return _address("aw", address_bits) | {
        "wvalid": Out(1),
        "wready": In(1),
        "wdata": Out(data_bits),
        "wstrb": Out(data_bits // 8),
        "wlast": Out(1),
        "bvalid": In(1),
        "bready": Out(1),
        "bresp": In(Response),
    }


class AxiRead(wiring.Signature):
    """The read half of an AXI4 master without IDs: answers come in order.

    Members
    -------
    arvalid, arready, araddr, arlen, arsize, arburst :
        Read address channel.
    rvalid, rready, rdata, rresp, rlast :
        Read data channel.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(_read(config.axi_address_bits, 8 * config.beat_bytes))


class AxiWrite(wiring.Signature):
    """The write half of an AXI4 master without IDs.

    Members
    -------
    awvalid, awready, awaddr, awlen, awsize, awburst :
        Write address channel.
    wvalid, wready, wdata, wstrb, wlast :
        Write data channel.
    bvalid, bready, bresp :
        Write response channel.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(_write(config.axi_address_bits, 8 * config.beat_bytes))


class AxiLite(wiring.Signature):
    """An AXI4-Lite master of :data:`LITE_BITS` bits; a slave's port is ``In(AxiLite())``.

    Members
    -------
    awvalid, awready, awaddr, wvalid, wready, wdata, wstrb, bvalid, bready, bresp :
        Writes.
    arvalid, arready, araddr, rvalid, rready, rdata, rresp :
        Reads.
    """

    def __init__(self) -> None:
        unused = {"arlen", "arsize", "arburst", "rlast", "awlen", "awsize", "awburst", "wlast"}
        members = _read(LITE_ADDRESS_BITS, LITE_BITS) | _write(LITE_ADDRESS_BITS, LITE_BITS)
        super().__init__({name: member for name, member in members.items() if name not in unused})
