"""The cycle budget of a network: what each step takes today, and what the same array and buffers allow.

``python -m sim.cycles.budget`` writes docs/cycle-budget.md.
"""

import sys
from dataclasses import dataclass

from hw.compiler.compile import compile_network
from hw.compiler.mapping import best_pw
from hw.compiler.program import Program
from hw.compiler.tasks import Task
from hw.config import ZCU102, AcceleratorConfig
from hw.control.descriptor import Opcode, Unit
from hw.timing import Timing
from quant.blank import blank_artifact
from quant.networks.spec import spec
from sim.cycles.model import Memory, Prediction, predict
from triovit import files

#: Cycles from a request to DRAM to its first beat, as in the benchmark's memory.
DRAM_LATENCY = 60
#: Pictures that share one pass over the weights of the fully connected layers in steady state.
FC_PICTURES = 32
#: Share of the multipliers' cycles that is to do the network's products: the paper's.
GOAL = 0.95


@dataclass(frozen=True)
class Step:
    """Layers that belong together: a depthwise layer and what follows it, an attention and its aggregation, or one on its own."""

    layers: tuple[str, ...]
    tasks: tuple[Task, ...]
    predicted: int
    #: Cycles if nothing but the step's own work and one pipeline fill stood in the way, depthwise loops as they are.
    bound: int
    #: The same with depthwise lanes folded, so that none idles.
    budget: int
    macs: int

    def blocks(self, config: AcceleratorConfig) -> str:
        """What the L blocks run over, for each task that has a choice."""
        seen = []
        for task in self.tasks:
            if task.opcode in (Opcode.PW, Opcode.QZ):
                lp = 1 << task.get("lp")
                seen.append(f"{lp} px x {config.l // lp} ch" + (", both" if task.joint else ""))
            elif task.opcode is Opcode.DW:
                seen.append(f"{config.l // task.get('stride')} px x {config.wide} cg")
        return "; ".join(dict.fromkeys(seen))


def steps(program: Program, prediction: Prediction) -> list[Step]:
    """The program cut into steps, with today's prediction and the budget of each."""
    cut: list[list[int]] = []
    for index, task in enumerate(program.tasks):
        if task.opcode is Opcode.STORE:
            continue
        # What follows a DW belongs to it, whether it overlaps with it or not; so do heads that run beside it.
        joins = cut and (
            task.layer in {program.tasks[i].layer for i in cut[-1]}
            or program.tasks[cut[-1][-1]].opcode is Opcode.DW
            or Unit.MAT | Unit.RMAC not in task.wait
        )
        if not joins:
            cut.append([])
        cut[-1].append(index)
    found = []
    for indices in cut:
        tasks = tuple(program.tasks[i] for i in indices)
        times = [prediction.tasks[i] for i in indices]
        took = max(time.end for time in times) - min(time.start for time in times)
        layers = tuple(dict.fromkeys(task.layer for task in tasks))
        found.append(Step(
                layers,
                tasks,
                took,
                _budget(tasks, program.config, folded=False),
                _budget(tasks, program.config, folded=True),
                sum(task.macs for task in tasks),
            ))
    return found


def _budget(tasks: tuple[Task, ...], config: AcceleratorConfig, *, folded: bool) -> int:
    work: dict[object, int] = {}
    for task in tasks:
        work[task.opcode] = work.get(task.opcode, 0) + _work(task, config, folded)
    opcodes = set(work)
    if Opcode.LN in opcodes or Opcode.POOL in opcodes:
        # Beside other work in steady state: LayerNorm streams a vector, pooling sums what post-processing writes.
        return 0
    if opcodes == {Opcode.PW} and all(task.get("px_end") == 1 for task in tasks):
        # The vectors of several pictures are the pixels of one product; its cost counts the stream of weights, once for all.
        together = (best_pw(config, FC_PICTURES, task.get("dst_cg_end"), task.get("depth")) for task in tasks)
        return -(-sum(mapping.ahead for mapping in together) // FC_PICTURES)
    total = Timing.of(config).early_step
    if Opcode.KTV in opcodes:
        # Quotients are products of either engine; sums and depthwise layers are R-MAC's.
        return total * 3 + max(sum(work.values()) // 2, work[Opcode.KTV] + work.get(Opcode.DW, 0))
    if Opcode.DW in opcodes:
        follower = [task for task in tasks if task.opcode is Opcode.PW]
        if any(task.get("src_step") for task in follower):
            return total + max(work[Opcode.DW], work[Opcode.PW])
        # Post-processing takes a result a cycle, of either engine.
        results = sum(task.results(config) << task.joint for task in tasks)
        return total + max(work[Opcode.DW], (work[Opcode.DW] + work[Opcode.PW]) // 2, results)
    return total + sum(task.beats(config) for task in tasks if task.opcode is Opcode.PW)


def _work(task: Task, config: AcceleratorConfig, folded: bool) -> int:
    """Cycles of one engine: a joint task counts twice, a folded depthwise one with all lanes in use."""
    if task.opcode is Opcode.DW and folded:
        groups = task.get("dst_cg_end") - task.get("dst_cg")
        return -(-(task.get("px_end") - task.get("px_start")) * groups // (config.l * config.wide)) * task.get("kernel") ** 2
    return task.beats(config) * (2 if task.joint else 1)


def document(network: str = "b1", resolution: int = 224, config: AcceleratorConfig = ZCU102) -> str:
    """The page as Markdown."""
    artifact = blank_artifact(spec(network).at((resolution, resolution)))
    program = compile_network(artifact, config)
    prediction = predict(program, Memory(DRAM_LATENCY))
    rows = steps(program, prediction)
    together = predict(compile_network(artifact, config, FC_PICTURES), Memory(DRAM_LATENCY)).cycles / FC_PICTURES
    array = config.multipliers
    ideal = prediction.macs / array
    bound, budget = sum(step.bound for step in rows), sum(step.budget for step in rows)
    lines = [
        f"# Cycle budget: {network.upper()} at {resolution}x{resolution} on `{config.name}`",
        "",
        "Generated by `python -m sim.cycles.budget`; do not edit. Nothing here is measured: *predicted* is the cycle "
        "model (which the test suite compares with",
        "simulation on the built-in network), *bound* and *budget* are what the array and the ports allow. How to "
        "read it: [architecture.md](architecture.md), section 7.",
        "",
        "| | cycles | utilization |",
        "|---|---|---|",
        f"| {prediction.macs:,} products on {array} multipliers | {ideal:,.0f} | 100 % |",
        f"| the goal | {ideal / GOAL:,.0f} | {GOAL:.0%} |",
        f"| bound of the loops as they are, steady state | {bound:,} | {ideal / bound:.1%} |",
        f"| budget, steady state: with depthwise lanes folded | {budget:,} | {ideal / budget:.1%} |",
        f"| predicted today, one picture alone, DRAM latency {DRAM_LATENCY} | {prediction.cycles:,} | "
        f"{ideal / prediction.cycles:.1%} |",
        f"| predicted today, a picture of {FC_PICTURES} a run | {together:,.0f} | {ideal / together:.1%} |",
        "",
        f"Weights and parameters: {prediction.weight_beats:,} beats a picture, "
        f"{prediction.weight_beats / prediction.cycles:.0%} of the port while one picture runs alone.",
        "",
        "## Where the cycles of a picture alone go, beyond the budget",
        "",
        "| loss | cycles | what removes it |",
        "|---|---|---|",
        *_losses(rows),
        "",
        "## Layer by layer",
        "",
        "| layers | L runs over | beats of weights | ideal | budget | bound | predicted |",
        "|---|---|---|---|---|---|---|",
    ]
    for step in rows:
        beats = sum(packet.beats(config) for task in step.tasks for packet in task.packets)
        lines.append(
            f"| {' + '.join(step.layers)} | {step.blocks(config)} | {beats:,} | {step.macs / array:,.0f} | "
            f"{step.budget:,} | {step.bound:,} | {step.predicted:,} |"
        )
    return "\n".join(lines) + "\n"


def _losses(rows: list[Step]) -> list[str]:
    causes = {
        "LOAD beyond the first layer's own work": "several pictures a run: LOAD beside the last layers of the picture before; "
        "the picture before the weights that are read ahead",
        "weights of the fully connected layers": f"{FC_PICTURES} pictures a run: one pass over them for all",
        "pooling and LayerNorm on their own": f"{FC_PICTURES} pictures a run: pooling beside LOAD of the next one, "
        "one vector's LayerNorm beside others'",
        "depthwise: few channels, stride 2, small maps": "all lanes at stride 2 (bound less budget); overlap in the last stage",
        "attention and its aggregation: one engine waits for the other": "Q Z by both engines in the last batches",
    }
    gained = dict.fromkeys(causes, 0)
    for step in rows:
        opcodes = {task.opcode for task in step.tasks}
        excess = step.predicted - step.budget
        if Opcode.LOAD in opcodes:
            gained["LOAD beyond the first layer's own work"] += excess
        elif opcodes == {Opcode.PW} and all(task.get("px_end") == 1 for task in step.tasks):
            gained["weights of the fully connected layers"] += excess
        elif opcodes & {Opcode.LN, Opcode.POOL}:
            gained["pooling and LayerNorm on their own"] += excess
        elif Opcode.KTV in opcodes:
            gained["attention and its aggregation: one engine waits for the other"] += excess
        elif Opcode.DW in opcodes:
            gained["depthwise: few channels, stride 2, small maps"] += excess
    return [f"| {name} | {gained[name]:,} | {remedy} |" for name, remedy in causes.items()]


if __name__ == "__main__":
    files.write_text(sys.argv[1] if len(sys.argv) > 1 else "docs/cycle-budget.md", document())
