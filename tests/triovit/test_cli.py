"""Errors word for word, exit codes, JSON."""

import json
import subprocess
import sys

import click
import pytest

from triovit import __version__, cli
from triovit.errors import InternalError, UserError


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make every command raise ``error``."""

    @click.command("doctor")
    @click.option("--json", is_flag=True)
    def command(json: bool) -> None:
        raise error

    monkeypatch.setattr(cli.Road, "get_command", lambda *_: command)


def test_help_lists_the_commands_in_the_order_of_the_road(triovit):
    result = triovit("--help")
    assert result.code == 0
    places = [result.out.index(f"\n  {name} ") for name in cli.COMMANDS]
    assert places == sorted(places)
    assert list(cli.COMMANDS) == [
        "inspect",
        "quantize",
        "evaluate",
        "errors",
        "export",
        "generate",
        "explore",
        "simulate",
        "report",
        "doctor",
        "demo",
    ]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_and_json(triovit, name):
    result = triovit(name, "--help")
    assert result.code == 0
    assert "--json" in result.out


def test_version(triovit):
    assert triovit("--version").out == f"triovit, version {__version__}\n"


def test_help_needs_no_heavy_import():
    code = (
        "import sys\nfrom triovit.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'amaranth', 'cocotb', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "Missing command; see 'triovit --help'"),
        (("fly",), "No such command 'fly'; see 'triovit --help'"),
        (("inspect",), "Missing argument 'MODEL'; see 'triovit inspect --help'"),
        (("inspect", "b1", "--depth", "3"), "No such option '--depth'; see 'triovit inspect --help'"),
        (
            ("inspect", "b1", "--res", "big"),
            "Invalid value for '--res': big is no resolution; give one like 224 or 512x1024; see 'triovit inspect --help'",
        ),
        (("quantize", "digits", "-o", "x"), "Missing option '--calib'; see 'triovit quantize --help'"),
        (("generate", "artifact"), "Missing option '-o' / '--output'; see 'triovit generate --help'"),
    ],
)
def test_errors_of_usage(triovit, words, message):
    result = triovit(*words)
    assert (result.code, result.out, result.err) == (2, "", f"error: {message}\n")


def test_error_of_usage_as_json(triovit):
    result = triovit("inspect", "--json")
    assert result.code == 2
    assert result.document == {
        "error": {"kind": "usage", "message": "Missing argument 'MODEL'; see 'triovit inspect --help'"},
        "exit_code": 2,
    }


def test_users_error_is_one_line_and_code_2(triovit, monkeypatch):
    fail_with(monkeypatch, UserError("weights.pt: layer stem.0: tensor w has NaN; train again"))
    result = triovit("doctor")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: weights.pt: layer stem.0: tensor w has NaN; train again\n"


def test_users_error_as_json(triovit, monkeypatch):
    fail_with(monkeypatch, UserError("no"))
    result = triovit("doctor", "--json")
    assert (result.code, result.err) == (2, "error: no\n")
    assert result.document == {"error": {"kind": "user", "message": "no"}, "exit_code": 2}


@pytest.mark.parametrize("error", [InternalError("the trace has no tensor x"), KeyError("x")])
def test_our_error_has_a_traceback_and_code_1(triovit, monkeypatch, error):
    fail_with(monkeypatch, error)
    result = triovit("doctor", "--json")
    lines = result.err.splitlines()
    assert result.code == 1
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == (
        f"error: {type(error).__name__}: {error}; this is a fault of triovit, not yours: "
        "please report it with the lines above and the command"
    )
    assert result.document["error"]["kind"] == "internal"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interruption_is_no_fault(triovit, monkeypatch, error):
    fail_with(monkeypatch, error)
    result = triovit("doctor")
    assert (result.code, result.err.strip()) == (130, "error: interrupted")


def test_console_script_is_the_same_program():
    done = subprocess.run([sys.executable, "-m", "triovit", "fly", "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert json.loads(done.stdout)["exit_code"] == 2
