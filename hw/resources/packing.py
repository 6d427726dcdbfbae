"""How many functions of a mapped netlist share a lookup table with another one, by a packing that is legal.

A LUT6 of a Xilinx device is two functions of up to five inputs where both together have no more than five (UltraScale CLB user
guide, UG574). Which functions share is found greedily, so that a better packing may exist; where they are placed is not asked.
"""

from collections.abc import Iterable, Sequence

from hw.resources.synthesis import CONSTANTS, Cell

#: Inputs that two functions in one lookup table may have together.
SHARED_INPUTS = 5
#: How many partners are looked at for each input of a function.
_LOOKED_AT = 64


def functions(cells: Iterable[Cell]) -> list[frozenset[str]]:
    """The inputs of every function that may share: those of up to five inputs that drive no select of a carry chain.

    The table of a carry chain's bit has its second output in use, or needs the multiplexer behind it; it is taken for full.
    """
    cells = list(cells)
    carries = [cell.wires.items() for cell in cells if cell.kind.startswith("CARRY")]
    chained = {wire for wires in carries for port, wire in wires if port.startswith("S[")}
    found = []
    for kind, wires in cells:
        if not (kind.startswith("LUT") or kind == "INV"):
            continue
        inputs = frozenset(wire for port, wire in wires.items() if port != "O" and wire not in CONSTANTS)
        if len(inputs) <= SHARED_INPUTS and wires["O"] not in chained:
            found.append(inputs)
    return found


def pairs(given: Sequence[frozenset[str]]) -> list[tuple[int, int]]:
    """Which functions share a lookup table, two indices each; ``given`` are the inputs of each function, 0 to 5 of them.

    Large functions choose first, of those with a common input the largest that fits; small ones that found none go together
    without a common input. The same functions in the same order give the same pairs.
    """
    readers: dict[str, list[int]] = {}
    order = sorted(range(len(given)), key=lambda index: -len(given[index]))
    for index in order:
        for bit in given[index]:
            readers.setdefault(bit, []).append(index)
    found, alone = [], []
    taken = bytearray(len(given))
    for index in order:
        if taken[index]:
            continue
        taken[index] = 1
        partner = _partner(given[index], given, readers, taken)
        if partner is None:
            taken[index] = 0
            alone.append(index)
        else:
            taken[partner] = 1
            found.append((index, partner))
    return found + _strangers([index for index in alone if not taken[index]], given)


def _partner(
    inputs: frozenset[str], given: Sequence[frozenset[str]], readers: dict[str, list[int]], taken: bytearray
) -> int | None:
    """The largest function that fits beside these inputs and has one of them."""
    best = None
    for bit in sorted(inputs, key=lambda bit: (len(readers[bit]), bit)):
        free = readers[bit] = [other for other in readers[bit] if not taken[other]]
        for other in free[:_LOOKED_AT]:
            fits = len(inputs | given[other]) <= SHARED_INPUTS
            if fits and (best is None or len(given[other]) > len(given[best])):
                best = other
    return best


def _strangers(alone: list[int], given: Sequence[frozenset[str]]) -> list[tuple[int, int]]:
    """Pairs of functions without common inputs, the largest partner first."""
    left: list[list[int]] = [[] for _ in range(SHARED_INPUTS + 1)]
    for index in alone:
        left[len(given[index])].append(index)
    found = []
    for size in range(SHARED_INPUTS, -1, -1):
        for other in range(min(size, SHARED_INPUTS - size), -1, -1):
            while left[size] and left[other] and (size != other or len(left[size]) > 1):
                found.append((left[size].pop(), left[other].pop()))
    return found
