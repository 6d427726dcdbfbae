"""Shares one AXI4 read port between several readers."""

from amaranth import Module, Shape, Signal
from amaranth.lib import data, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hw.axi.signature import AxiRead
from hw.config import AcceleratorConfig
from hw.cost import Resources, ram

#: Bursts that may be under way on the bus unless the caller says otherwise.
OUTSTANDING = 16


class ReadArbiter(wiring.Component):
    """``clients`` readers on one bus, round-robin burst by burst.

    Addresses pass through a register (one cycle, one burst every two cycles); data pass without delay to the client that
    asked first: the bus has no IDs and answers in order.

    Parameters
    ----------
    config :
        Sizes of the bus.
    clients :
        Number of readers.
    outstanding :
        Bursts that may be under way on the bus.

    Members
    -------
    clients : In(AxiRead) x clients
        The readers.
    axi : Out(AxiRead)
        The bus.
    """

    def __init__(self, config: AcceleratorConfig, clients: int, outstanding: int = OUTSTANDING):
        self._config, self._count, self._outstanding = config, clients, outstanding
        super().__init__({"clients": In(AxiRead(config)).array(clients), "axi": Out(AxiRead(config))})

    @staticmethod
    def resources(config: AcceleratorConfig, clients: int, outstanding: int = OUTSTANDING) -> Resources:
        """The client numbers of the bursts under way."""
        return ram(range(clients), outstanding)

    def elaborate(self, platform: object) -> Module:
        """An address register, a rotating priority and a FIFO of client numbers."""
        m = Module()
        m.submodules.order = order = SyncFIFO(width=Shape.cast(range(self._count)).width, depth=self._outstanding)
        bus = self.axi
        names = ("araddr", "arlen", "arsize", "arburst")
        held = Signal(data.StructLayout({name: AxiRead(self._config).members[name].shape for name in names}))
        m.d.comb += [getattr(bus, name).eq(getattr(held, name)) for name in names]

        grant = Signal(range(self._count))
        last = Signal(range(self._count))
        any_request = Signal()
        # The client after the last one served comes first; a later assignment has the higher priority.
        with m.Switch(last):
            for previous in range(self._count):
                with m.Case(previous):
                    for distance in range(self._count, 0, -1):
                        index = (previous + distance) % self._count
                        with m.If(self.clients[index].arvalid):
                            m.d.comb += [grant.eq(index), any_request.eq(1)]

        with m.If(bus.arready):
            m.d.sync += bus.arvalid.eq(0)
        take = Signal()
        m.d.comb += [take.eq(any_request & ~bus.arvalid & order.w_rdy), order.w_data.eq(grant), order.w_en.eq(take)]
        with m.If(take):
            m.d.sync += [bus.arvalid.eq(1), last.eq(grant)]
        for index in range(self._count):
            client = self.clients[index]
            chosen = Signal(name=f"chosen_{index}")
            m.d.comb += [chosen.eq(take & (grant == index)), client.arready.eq(chosen)]
            with m.If(chosen):
                m.d.sync += [getattr(held, name).eq(getattr(client, name)) for name in names]
            answered = Signal(name=f"answered_{index}")
            m.d.comb += [
                answered.eq(order.r_rdy & (order.r_data == index)),
                client.rvalid.eq(bus.rvalid & answered),
                client.rdata.eq(bus.rdata),
                client.rresp.eq(bus.rresp),
                client.rlast.eq(bus.rlast),
            ]
            with m.If(answered):
                m.d.comb += bus.rready.eq(client.rready)
        m.d.comb += order.r_en.eq(bus.rvalid & bus.rready & bus.rlast)
        return m
