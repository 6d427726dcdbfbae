"""The configuration of a point: its array from the space, its memories as large as the network needs."""

from amaranth.utils import ceil_log2

from hw.compiler.compile import compile_network
from hw.compiler.program import Program
from hw.config import AcceleratorConfig
from hw.control.descriptor import Buffer
from hw.interfaces import ROW_BITS
from quant.artifact import Artifact
from sim.explore.space import Machine, Slots

#: Rows that a descriptor can name: a buffer is never larger.
MOST_ROWS = 1 << ROW_BITS
_LEAST_WIDTH = 64


def roomy(machine: Machine, artifact: Artifact) -> AcceleratorConfig:
    """The machine with activation buffers as large as can be.

    Raises
    ------
    UserError
        The architecture cannot have these sizes.
    """
    m = machine.m
    dims = [layer.attrs["dim"] for layer in artifact.layers if layer.kind == "attention"]
    return AcceleratorConfig(
        name=machine_name(machine),
        n=m,
        m=m,
        t=m,
        s=m,
        l=machine.l,
        h_rows=MOST_ROWS * m,
        d_rows=MOST_ROWS,
        x_rows=MOST_ROWS,
        y_rows=MOST_ROWS,
        o_rows=MOST_ROWS,
        weight_rows=machine.weight_rows,
        param_rows=machine.param_rows,
        max_dim=1 << ceil_log2(max([m, *dims])),
        z_rows=machine.z_rows,
        divisor_rows=machine.divisor_rows,
        max_picture_width=1 << ceil_log2(max(_LEAST_WIDTH, artifact.input_shape[2])),
        first_dsp_slots=0,
        second_dsp_slots=0,
        result_depth=4 * m,
        axi_burst=machine.axi_burst,
    )


def rows_in_use(program: Program) -> dict[int, int]:
    """Rows up to the last one that any task writes, of a bank of each activation buffer."""
    used = dict.fromkeys((Buffer.H, Buffer.D, Buffer.X, Buffer.Y, Buffer.O), 1)
    for task in program.tasks:
        for copy in ("dst", "dst2") if task.get("dst2_on") else ("dst",):
            buffer = task.fields.get(copy)
            if isinstance(buffer, Buffer) and buffer in used:
                wide = program.config.wide if buffer is Buffer.H else 1
                fold = task.get("dst_fold") if buffer is Buffer.H else 0
                rows = task.get("dst_rows")
                height = -(-rows >> fold) if fold else -(-task.get("dst_cg_end") // wide) * rows
                used[buffer] = max(used[buffer], task.get(f"{copy}_base") + height)
    return used


def fitted(machine: Machine, artifact: Artifact, batch: int = 1) -> AcceleratorConfig:
    """The machine with the rows that runs of ``batch`` pictures take of buffers without end, times ``machine.buffers`` percent.

    The compiler puts a tensor where it puts it in a larger buffer as long as that place is there, so the network compiles to the
    same program with just the rows that it took.

    Raises
    ------
    UserError
        The architecture cannot have these sizes, or the network cannot be mapped on them.
    """
    config = roomy(machine, artifact)
    used = rows_in_use(compile_network(artifact, config, batch))
    rows = {buffer: -(-count * machine.buffers // 100) for buffer, count in used.items()}
    return config.with_(
        h_rows=rows[Buffer.H] * config.wide,
        d_rows=rows[Buffer.D],
        x_rows=rows[Buffer.X],
        y_rows=rows[Buffer.Y],
        o_rows=rows[Buffer.O],
    )


def with_slots(config: AcceleratorConfig, slots: Slots) -> AcceleratorConfig:
    """The same with its requantizers of DSPs or of lookup tables."""
    first, second = config.l * slots.first // 100, config.l * slots.second // 100
    return config.with_(name=f"{config.name}-f{first}-s{second}", first_dsp_slots=first, second_dsp_slots=second)


def machine_name(machine: Machine) -> str:
    """Every axis by a letter: ``m8-l16-w512-p64-z64-d1024-b16-r100``."""
    values = (machine.weight_rows, machine.param_rows, machine.z_rows, machine.divisor_rows, machine.axi_burst, machine.buffers)
    letters = "".join(f"-{letter}{value}" for letter, value in zip("wpzdbr", values, strict=True))
    return f"m{machine.m}-l{machine.l}{letters}"
