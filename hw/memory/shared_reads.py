"""Who reads which buffer: MAT one of X, Y and D, the residual one of X and Y."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.config import AcceleratorConfig
from hw.control.descriptor import Buffer
from hw.delay import delayed
from hw.memory.bank_buffer import BankBuffer, BankReadSignature
from hw.memory.reader import Reader


def trunk_rows(config: AcceleratorConfig) -> int:
    """Rows of a bank of the deeper one of X and Y."""
    return max(config.x_rows, config.y_rows)


def deepest_rows(config: AcceleratorConfig) -> int:
    """Rows of a bank of the deepest one of X, Y and D."""
    return max(trunk_rows(config), config.d_rows)


class SharedReads(wiring.Component):
    """Three buffers between two readers, bank by bank: words are chosen before they are rotated, once for each reader.

    The compiler keeps the readers apart, so of X and Y the residual has the one that MAT does not have. Whether they are
    ``crossed``, MAT on Y's side and the residual on X's, and whether MAT reads D, is all there is to choose. So a bit of X's, Y's
    and D's words is one lookup table of five inputs and two outputs, a bit for each reader, and a bit of X's and Y's rows one of
    three inputs. Where both readers ask for the same buffer, it answers the residual.

    Parameters
    ----------
    config : AcceleratorConfig
        Sizes.

    Members
    -------
    mat_src : In(Buffer)
        X, Y or D, in the cycle of MAT's request to its :class:`hw.memory.reader.Reader`.
    residual_valid : In(1), residual_src : In(Buffer)
        A request to the residual's reader, and X or Y.
    mat, residual : In(BankReadSignature)
        The readers' ``banks``.
    x, y, d : Out(BankReadSignature)
        The buffers.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "mat_src": In(Buffer),
            "residual_valid": In(1),
            "residual_src": In(Buffer),
            "mat": In(BankReadSignature(config, deepest_rows(config))),
            "residual": In(BankReadSignature(config, trunk_rows(config))),
            "x": Out(BankReadSignature(config, config.x_rows)),
            "y": Out(BankReadSignature(config, config.y_rows)),
            "d": Out(BankReadSignature(config, config.d_rows)),
        })

    def elaborate(self, platform: object) -> Module:
        """The choice of rows, between a reader's registers and a memory's; that of words, before the rotation's first step."""
        m = Module()
        mat_src, residual_src = Signal(Buffer), Signal(Buffer)
        crossed, from_d = Signal(), Signal()
        m.d.comb += [
            mat_src.eq(self.mat_src),
            residual_src.eq(self.residual_src),
            crossed.eq(Mux(self.residual_valid, residual_src == Buffer.X, mat_src == Buffer.Y)),
            from_d.eq(mat_src == Buffer.D),
        ]
        crossed_rows = delayed(m, crossed, Reader.row_latency, "crossed_rows")
        crossed_words = delayed(m, crossed_rows, BankBuffer.read_latency, "crossed_words")
        d_words = delayed(m, from_d, Reader.row_latency + BankBuffer.read_latency, "d_words")
        for bank in range(self.config.l):
            mat, residual = self.mat.row[bank], self.residual.row[bank]
            x, y, d = self.x.word[bank], self.y.word[bank], self.d.word[bank]
            m.d.comb += [
                self.x.row[bank].eq(Mux(crossed_rows, residual, mat)),
                self.y.row[bank].eq(Mux(crossed_rows, mat, residual)),
                self.d.row[bank].eq(mat),
                self.mat.word[bank].eq(Mux(d_words, d, Mux(crossed_words, y, x))),
                self.residual.word[bank].eq(Mux(crossed_words, x, y)),
            ]
        return m


__all__ = ["SharedReads", "deepest_rows", "trunk_rows"]
