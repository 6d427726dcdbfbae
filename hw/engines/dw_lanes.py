"""Which taps of a depthwise convolution lie beyond the map, for every pixel of a segment."""

from collections.abc import Callable

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.hdl import Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from hw.config import AcceleratorConfig
from hw.control.descriptor import DESCRIPTOR, MAX_FOLD
from hw.units.chosen import chosen

#: Beats between two segments, at least, but for one: a kernel has nine taps or more.
STEPS = 8
#: Chunks of the largest segment.
CHUNKS = 1 << MAX_FOLD
#: Where a coordinate lies: taps of an offset of -1, 1, -2, 2 from its pixel are beyond the map.
_BEYOND = data.ArrayLayout(1, 4)
#: What the lanes keep of a task.
_TASK = data.StructLayout(
    {name: DESCRIPTOR[name].shape for name in ("h_in", "w_in", "w_out", "kernel", "stride", "step_x", "step_y", "src_fold")}
)


class DwLanes(wiring.Component):
    """Walks the output coordinates of the pixels of a segment, those of the next segment during the beats of one.

    ``STEPS`` times fewer units than pixels move them. The pixels are dealt out to the units in turn; a unit has a row of
    registers that turns by one pixel in a step, and beside it one of what there is to know of the pixels moved. Where a segment
    has fewer pixels than the largest one, they are the last ones of each row; what is before them has no meaning, nor have pixels
    beyond the last one of the map (at stride 2: of its row), of which nothing is written. At stride 2 a segment has one pixel
    of each unit, and a row of the map begins with the first unit's. The first segment's pixels come one a cycle, before there is
    anything else of the task.

    Members
    -------
    start : In(1), task : In(DESCRIPTOR)
        Prepare the first segment of this task, of which the lanes keep what they need. No segment is shown any more.
    ready : Out(1)
        The first segment can be shown: from the ``(l << src_fold) + 1``-th cycle after ``start`` to the next one.
    move : In(1)
        Show the next segment, or the first one, from the next cycle on: while ``ready``, and at least ``STEPS + 1`` cycles after
        the last one.
    row_end : In(1)
        Stride 2: the segment shown is the last one of its row.
    ky, kx : In(3)
        The tap.
    outside : Out(ArrayLayout(l, wide))
        Pixels of the segment shown whose tap lies beyond the map, for each group of lanes, in the same cycle.
    """

    def __init__(self, config: AcceleratorConfig):
        self.config = config
        super().__init__({
            "start": In(1),
            "task": In(DESCRIPTOR),
            "ready": Out(1),
            "move": In(1),
            "row_end": In(1),
            "ky": In(3),
            "kx": In(3),
            "outside": Out(data.ArrayLayout(config.l, config.wide)),
        })

    def elaborate(self, platform: object) -> Module:
        """Units that step, and what is made of their results."""
        m = Module()
        config, task = self.config, Signal(_TASK, name="kept")
        units = config.l * CHUNKS // STEPS
        coordinate = DESCRIPTOR["w_in"].width
        two = task.stride == 2

        # The first segment comes pixel by pixel, the others of all units at once.
        # After a reset there is none to prepare.
        count, step, fill = Signal(range(units * STEPS + 1), init=config.l), Signal(range(STEPS + 1), init=STEPS), Signal()
        fill_x, fill_y = Signal(coordinate), Signal(coordinate)
        m.d.comb += [
            # The count ends with the power of two.
            self.ready.eq(count.bit_select(exact_log2(config.l) + task.src_fold, 1)),
            fill.eq(~self.ready),
        ]
        wraps = (fill_x == task.w_out - 1) & ~two
        with m.If(fill):
            m.d.sync += [count.eq(count + 1), fill_x.eq(Mux(wraps, 0, fill_x + 1)), fill_y.eq(fill_y + wraps)]
        with m.If(step != STEPS):
            m.d.sync += step.eq(step + 1)
        with m.If(self.move):
            m.d.sync += step.eq(0)
        with m.If(self.start):
            m.d.sync += [task[name].eq(self.task[name]) for name in _TASK.members]
            m.d.sync += [count.eq(0), fill_x.eq(0), fill_y.eq(self.task.y_start), step.eq(STEPS)]

        move_x, over, move_y = Signal(coordinate), Signal(signed(coordinate + 1)), Signal(DESCRIPTOR["step_y"].width)
        m.d.comb += [
            move_x.eq(Mux(two, config.l // 2, task.step_x)),
            over.eq(move_x - task.w_out),
            move_y.eq(Mux(two, self.row_end, task.step_y)),
        ]
        beyond_y, beyond_x = (self._edges(m, name, task[name], two) for name in ("h_in", "w_in"))
        place = data.StructLayout({"y": coordinate, "x": coordinate})
        edges = data.StructLayout({"y": _BEYOND, "x": _BEYOND})
        # With resets, so that the rows become no shift registers, which are lookup tables.
        shown = Signal(data.ArrayLayout(data.ArrayLayout(edges, units), STEPS))
        for unit in range(units):
            row = Signal(data.ArrayLayout(place, STEPS), name=f"row_{unit}")
            coming = Signal(data.ArrayLayout(edges, STEPS), name=f"coming_{unit}")
            here, after = row[0], Signal(place, name=f"after_{unit}")
            moved, wrapped = Signal(coordinate, name=f"moved_{unit}"), Signal(signed(coordinate + 2), name=f"wrapped_{unit}")
            leaves = (wrapped >= 0) & ~two
            m.d.comb += [
                moved.eq(here.x + move_x),
                wrapped.eq(here.x + over),
                after.y.eq(Mux(fill, fill_y, here.y + move_y + leaves)),
                after.x.eq(Mux(fill, fill_x, Mux(two & self.row_end, unit, Mux(leaves, wrapped, moved)))),
            ]
            with m.If(Mux(fill, count[: exact_log2(units)] == unit, step != STEPS)):
                m.d.sync += [*(row[i].eq(row[i + 1]) for i in range(STEPS - 1)), row[-1].eq(after)]
                m.d.sync += [coming[i].eq(coming[i + 1]) for i in range(STEPS - 1)]
                m.d.sync += [coming[-1].y.eq(beyond_y(after.y)), coming[-1].x.eq(beyond_x(after.x))]
            with m.If(self.move):
                m.d.sync += [shown[i][unit].eq(coming[i]) for i in range(STEPS)]

        met_y, met_x = self._tap(task, self.ky), self._tap(task, self.kx)
        chunks = Signal(data.ArrayLayout(config.l, CHUNKS))
        for pixel, found in enumerate(shown[i][unit] for i in range(STEPS) for unit in range(units)):
            m.d.comb += chunks.as_value()[pixel].eq(met_y(found.y) | met_x(found.x))
        for group in range(config.wide):
            m.d.comb += self.outside[group].eq(self._chunk(task, chunks, group))
        return m

    def _edges(self, m: Module, name: str, size: Value, two: Value) -> Callable[[Value], Value]:
        """Makes ``_BEYOND`` of an output coordinate of the map, of whose input this is the size."""
        last, before = Signal(size.shape(), name=f"last_of_{name}"), Signal(size.shape(), name=f"before_last_of_{name}")
        m.d.comb += [last.eq(Mux(two, (size - 1) >> 1, size - 1)), before.eq(last - 1)]

        def edges(at: Value) -> Value:
            # At stride 2 the last pixel has one behind it where the size is even, and none but it is two from an edge.
            return Cat(
                at == 0,
                (at == last) & (~two | size[0]),
                (at == 0) | (~two & (at == 1)),
                (at == last) | (~two & (at == before)),
            )

        return edges

    def _tap(self, task: data.View, k: Value) -> Callable[[Value], Value]:
        """Picks of ``_BEYOND`` what counts for a tap."""
        radius = task.kernel >> 1
        farther, away = (radius == 2) & ~k[0], k != radius
        return lambda beyond: away & chosen(Cat(k > radius, farther), *beyond)

    def _chunk(self, task: data.View, chunks: data.View, group: int) -> Value:
        """The pixels of a group of lanes: chunk 0 is the first of ``1 << fold`` at the end."""
        fold, found = task.src_fold, chunks[CHUNKS - 1]
        for value in range(1, MAX_FOLD + 1):
            found = Mux(fold == value, chunks[CHUNKS - (1 << value) + group // (self.config.wide >> value)], found)
        return found
