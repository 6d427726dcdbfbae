"""Programs for several pictures: the layers up to pooling once a picture, those behind it once (architecture, section 7)."""

from collections.abc import Sequence
from dataclasses import replace

from hw.compiler.program import Batch
from hw.compiler.tasks import NONE, Task
from hw.control.descriptor import Buffer, Opcode, Unit
from quant.artifact import Artifact
from triovit.errors import UserError


def vector_layers(artifact: Artifact) -> tuple[str, ...]:
    """Pooling and the layers behind it, whose results for several pictures lie side by side; none where nothing is pooled.

    Raises
    ------
    UserError
        A layer behind pooling reads what came before it, or is no product or norm of a vector.
    """
    names: list[str] = []
    for layer in artifact.layers:
        if layer.kind == "pool" and not names:
            names.append(layer.name)
        elif names:
            reads = [*layer.inputs, *([layer.post.residual.tensor] if layer.post is not None and layer.post.residual else [])]
            outside = [tensor for tensor in reads if tensor not in names]
            if outside or layer.kind not in ("pw", "fc", "layernorm"):
                what = f"reads {outside[0]} from before it" if outside else f"is of kind {layer.kind}"
                raise UserError(
                    f"layer {layer.name}: follows pooling and {what}, which cannot be done for several pictures at once; "
                    "use a batch of 1"
                )
            names.append(layer.name)
    return tuple(names)


def _uses(task: Task, buffer: Buffer) -> bool:
    named = ("src", "dst", "dst2") if task.get("dst2_on") else ("src", "dst")
    return any(task.fields.get(name) is buffer for name in named)


def load_slot(body: Sequence[Task]) -> int:
    """Index of the task behind which the next picture can be loaded, beside what follows.

    It begins the step after the last one with D in use, in which LOAD unfolds; at the latest that is the last task, POOL or
    STORE. Pooled vectors have rows of their own.
    """
    last = max(i for i, task in enumerate(body) if task.opcode is not Opcode.POOL and _uses(task, Buffer.D))
    return next(i for i in range(last + 1, len(body)) if body[i].wait & (Unit.MAT | Unit.RMAC) == Unit.MAT | Unit.RMAC)


def unrolled(body: Sequence[Task], head: Sequence[Task], batch: Batch) -> tuple[Task, ...]:
    """The body's tasks once a picture, then the head's.

    From the second picture on LOAD runs beside the last layers of the picture before, where they leave D to it; tasks that
    would otherwise wait for all units do not wait for this LOAD.
    """
    slot = load_slot(body)
    load = next(task for task in body if task.opcode is Opcode.LOAD)
    tasks: list[Task] = []
    for picture in range(batch.pictures):
        final = picture == batch.pictures - 1
        for index, task in enumerate(body):
            if picture and task is load:
                continue
            own = {}
            if task.opcode is Opcode.POOL:
                own = {"px_start": picture}
            elif task.opcode is Opcode.STORE:
                own = {"offset": picture * batch.output_beats}
            wait = task.wait & ~Unit.LOAD if index > slot and not final else task.wait
            tasks.append(replace(task, fields={**task.fields, **own}, wait=wait, picture=picture))
            if index == slot and not final:
                fields = {**load.fields, "offset": (picture + 1) * batch.picture_beats}
                tasks.append(replace(load, fields=fields, wait=NONE, picture=picture + 1))
    return (*tasks, *head)
