"""Boards: parts, clocks, resources, memory ports, programmers."""

from boards.board import Board
from boards.kv260 import KV260
from boards.zcu102 import ZCU102
from boards.zcu104 import ZCU104
from triovit.errors import UserError

BOARDS = {board.name: board for board in (ZCU102, ZCU104, KV260)}


def board(name: str) -> Board:
    """The named board.

    Raises
    ------
    UserError
        No such board.
    """
    if name not in BOARDS:
        raise UserError(f"board {name!r} is unknown; choose one of {', '.join(BOARDS)}")
    return BOARDS[name]


__all__ = ["BOARDS", "Board", "board"]
