"""The command line: one group, its errors, and the commands loaded when they are called."""

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from triovit import __version__
from triovit.errors import UserError
from triovit.output import prints_json

#: The commands, in the order of the road, and what they do in a line: the modules of `triovit.commands`, loaded only when called.
COMMANDS = {
    "inspect": "Show a network's layers: operation, engine, shapes, MACs, weights.",
    "quantize": "Turn a float network into integers.",
    "evaluate": "Measure the integer network's accuracy.",
    "errors": "Show what quantization costs, tensor by tensor and quantizer by quantizer.",
    "export": "Write the integer network as ONNX and compare it with the integers.",
    "generate": "Write the Verilog, its manifest and the program.",
    "explore": "Try many configurations on a board: speed, resources and bounds of each.",
    "simulate": "Run the Verilog and compare every layer with ==.",
    "report": "Write one HTML page about a run.",
    "doctor": "Check every tool: found, needed, how to get it.",
    "demo": "Walk the whole road on the built-in network.",
}

#: A value that differs in simulation has the code of a fault of triovit, for that is what it is.
EXIT_USER, EXIT_INTERNAL, EXIT_DIFFERS, EXIT_INTERRUPTED = 2, 1, 1, 130

_REPORT = "this is a fault of triovit, not yours: please report it with the lines above and the command"


class Road(click.Group):
    """The group of the commands, which loads each when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the road."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"triovit.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Road, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, prog_name="triovit")
def road() -> None:
    """Take a trained EfficientViT to bit-exact Verilog."""


def main(words: Sequence[str] | None = None) -> NoReturn:
    """Run a command and leave with its exit code: 0, 2 for what the user can mend, 1 for a fault of triovit.

    A failure is one line on standard error, and with ``--json`` (and no FILE) also a JSON object on standard output.
    """
    words = sys.argv[1:] if words is None else words
    try:
        code = road.main(list(words), "triovit", standalone_mode=False)
    except UserError as error:
        _fail("user", str(error), words, EXIT_USER)
    except click.ClickException as error:
        _fail("usage", _usage(error), words, EXIT_USER)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", "interrupted", words, EXIT_INTERRUPTED)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        _fail("internal", f"{type(error).__name__}: {error}; {_REPORT}", words, EXIT_INTERNAL)
    sys.exit(code if isinstance(code, int) else 0)


def _usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    remedy = f"; see '{context.command_path} --help'" if context else ""
    return " ".join(error.format_message().split()).rstrip(".") + remedy


def _fail(kind: str, message: str, words: Sequence[str], code: int) -> NoReturn:
    click.echo(f"error: {message}", err=True)
    if prints_json(words):
        click.echo(json.dumps({"error": {"kind": kind, "message": message}, "exit_code": code}, indent=2))
    sys.exit(code)
