"""The AXI4-Lite slave of a register map."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.axi.signature import LITE_ADDRESS_BITS, LITE_BITS, AxiLite, Response
from hw.control.register_map import Access, Field, Register


def port_name(register: Register, field: Field) -> str:
    """Name of a field's port: the register's name, and the field's unless the register is one nameless field."""
    return f"{register.name}_{field.name}".lower() if field.name else register.name.lower()


class RegisterFile(wiring.Component):
    """Registers behind AXI4-Lite, made from a register map.

    Write address and data may come in any order; one write and one read are served at a time, each in two cycles at least.
    A write strobe that is off keeps its byte. Writes to read-only fields are ignored. An address that is not in the map is
    answered with SLVERR and changes nothing.

    Parameters
    ----------
    registers :
        The map; offsets are multiples of a word.

    Members
    -------
    bus : In(AxiLite)
        The bus.
    (field ports) :
        One port a field, named by :func:`port_name`. ``RO``: In, the value to read. ``RW``: Out, the stored value. ``PULSE``:
        Out, each bit is high for one cycle after a one was written to it. ``STICKY``: Out, the stored bits, with an input
        ``<port>_set`` whose ones set them (stronger than a clearing write in the same cycle) and ``<port>_clear`` which clears
        all. ``CONST``: no port.
    """

    def __init__(self, registers: tuple[Register, ...]):
        self._registers = registers
        ports: dict[str, wiring.Member] = {"bus": In(AxiLite())}
        for register in registers:
            for field in register.fields:
                name = port_name(register, field)
                if field.access is Access.RO:
                    ports[name] = In(field.bits)
                elif field.access is not Access.CONST:
                    ports[name] = Out(field.bits, init=field.reset)
                if field.access is Access.STICKY:
                    ports |= {f"{name}_set": In(field.bits), f"{name}_clear": In(1)}
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        """The bus handshakes, one word select for reads, and the storage of each field."""
        m = Module()
        bus = self.bus
        ignored = (LITE_BITS // 8 - 1).bit_length()
        word_bits = LITE_ADDRESS_BITS - ignored

        address, data, strobe = Signal(word_bits), Signal(LITE_BITS), Signal(LITE_BITS // 8)
        have_address, have_data, write = Signal(), Signal(), Signal()
        m.d.comb += [
            bus.awready.eq(~have_address),
            bus.wready.eq(~have_data),
            write.eq(have_address & have_data & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [have_address.eq(1), address.eq(bus.awaddr[ignored:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [have_data.eq(1), data.eq(bus.wdata), strobe.eq(bus.wstrb)]
        with m.If(bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(write):
            m.d.sync += [have_address.eq(0), have_data.eq(0), bus.bvalid.eq(1), bus.bresp.eq(Response.SLVERR)]
            with m.Switch(address):
                for register in self._registers:
                    with m.Case(register.offset >> ignored):
                        m.d.sync += bus.bresp.eq(Response.OKAY)

        m.d.comb += bus.arready.eq(~bus.rvalid)
        with m.If(bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += [bus.rvalid.eq(1), bus.rdata.eq(0), bus.rresp.eq(Response.SLVERR)]
            with m.Switch(bus.araddr[ignored:]):
                for register in self._registers:
                    with m.Case(register.offset >> ignored):
                        m.d.sync += [bus.rdata.eq(self._word(register)), bus.rresp.eq(Response.OKAY)]

        mask = Cat(bit.replicate(8) for bit in strobe)
        for register in self._registers:
            chosen = Signal(name=f"write_{register.name.lower()}")
            m.d.comb += chosen.eq(write & (address == register.offset >> ignored))
            for field in register.fields:
                if field.access in (Access.RO, Access.CONST):
                    continue
                name = port_name(register, field)
                port, bits = getattr(self, name), slice(field.low, field.low + field.bits)
                if field.access is Access.RW:
                    with m.If(chosen):
                        m.d.sync += port.eq(port & ~mask[bits] | data[bits] & mask[bits])
                else:
                    ones = Signal(field.bits, name=f"ones_{name}")
                    m.d.comb += ones.eq(Mux(chosen, data[bits] & mask[bits], 0))
                    if field.access is Access.PULSE:
                        m.d.sync += port.eq(ones)
                    else:
                        kept = Mux(getattr(self, f"{name}_clear"), 0, port & ~ones)
                        m.d.sync += port.eq(kept | getattr(self, f"{name}_set"))
        return m

    def _word(self, register: Register) -> Cat:
        parts, position = [], 0
        for field in register.fields:
            parts.append(Const(0, field.low - position))
            if field.access is Access.CONST:
                parts.append(Const(field.reset, field.bits))
            elif field.access is Access.PULSE:
                parts.append(Const(0, field.bits))
            else:
                parts.append(getattr(self, port_name(register, field)))
            position = field.low + field.bits
        return Cat(*parts)
