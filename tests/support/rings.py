"""Programs whose unfolded picture is a ring: LOAD and the stem at the same time, in less room than the picture takes."""

from dataclasses import replace

from hw.compiler.program import Program
from hw.compiler.tasks import Task
from hw.control.descriptor import Opcode


def ringed(program: Program, ring: int, bands: int = 1) -> Program:
    """The same program with ``2^ring`` rows for a channel group of the unfolded picture, and the stem in ``bands`` tasks."""

    def changed(task: Task) -> list[Task]:
        if task.opcode is Opcode.LOAD:
            return [replace(task, fields={**task.fields, "dst_ring": ring, "dst_rows": 1 << ring})]
        if not task.get("behind_load"):
            return [task]
        step = -(-task.get("px_end") // bands)
        fields = {**task.fields, "src_ring": ring, "src_rows": 1 << ring}
        starts = range(0, task.get("px_end"), step)
        parts = [{**fields, "px_start": start, "px_end": min(start + step, task.get("px_end"))} for start in starts]
        return [replace(task, fields=part, macs=task.macs // bands) for part in parts]

    return replace(program, tasks=tuple(one for task in program.tasks for one in changed(task)))
