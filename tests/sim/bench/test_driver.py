"""The driver over a bus that only remembers, with the hardware's own register map."""

import pytest

from hw.config import TOY
from hw.control.register_map import to_dict
from sim.bench.driver import PATIENCE, BusError, Driver

MAP = to_dict(TOY)


class Memory:
    """Registers that keep what they are told, and an interrupt at once."""

    def __init__(self, irq=True):
        self.words, self.log, self.irq = {}, [], irq

    def read(self, offset):
        return self.words.get(offset, 0)

    def write(self, offset, value):
        self.log.append((next(name for name, register in MAP.items() if register["offset"] == offset), value))

    def wait_irq(self):
        return self.irq


ARGUMENTS = {
    "program": 0x12_3456_7800, "program_count": 9, "weights": 0x1000, "weights_beats": 77,
    "picture": 0x2000, "output": 0xFF_0000_0000,
}


def test_a_run_sets_everything_and_then_starts():
    bus = Memory()
    Driver(bus, MAP).run(**ARGUMENTS, watchdog=500)
    written = dict(bus.log[:-1])
    assert (written["PROGRAM_ADDR_LO"], written["PROGRAM_ADDR_HI"], written["PROGRAM_COUNT"]) == (0x3456_7800, 0x12, 9)
    assert (written["OUTPUT_ADDR_LO"], written["OUTPUT_ADDR_HI"]) == (0, 0xFF)
    assert (written["INPUT_ADDR_LO"], written["WEIGHTS_ADDR_LO"]) == (0x2000, 0x1000)
    assert (written["WEIGHTS_BEATS"], written["WATCHDOG"]) == (77, 500)
    assert bus.log[-2:] == [("CTRL", 0b101), ("STATUS", 0b110)]


@pytest.mark.parametrize("irq", [True, False])
def test_the_report_has_status_error_and_counters(irq):
    bus = Memory(irq)
    bus.words = {MAP["STATUS"]["offset"]: 0b100, MAP["ERROR"]["offset"]: 0x0031_0004, MAP["MAT_BUSY"]["offset"]: 1234}
    report = Driver(bus, MAP).run(**ARGUMENTS)
    assert (report["irq"], report["busy"], report["done"], report["error"]) == (irq, 0, 0, 1)
    assert (report["error_code"], report["error_index"]) == (4, 0x31)
    assert report["mat_busy"] == 1234
    assert {"cycles", "rmac_busy", "load_busy", "store_busy", "weight_beats_read"} <= set(report)
    assert "WATCHDOG" not in dict(bus.log)


class Busy(Memory):
    """An accelerator whose last run still has transfers under way."""

    def __init__(self, reads):
        super().__init__()
        self.left = reads

    def read(self, offset):
        if offset != MAP["STATUS"]["offset"]:
            return super().read(offset)
        self.left -= 1
        return int(self.left >= 0)


def test_a_start_waits_for_the_transfers_of_the_run_before():
    bus = Busy(5)
    Driver(bus, MAP).run(**ARGUMENTS)
    # Five reads that say busy, the one that does not, and that of the report.
    assert bus.left == -2
    assert ("CTRL", 0b101) in bus.log


def test_an_accelerator_that_stays_busy_is_never_started():
    bus = Busy(PATIENCE)
    with pytest.raises(BusError, match=r"^the accelerator stays busy with the run before; reset it$"):
        Driver(bus, MAP).run(**ARGUMENTS)
    assert bus.log == []
