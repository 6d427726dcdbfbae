"""What `make setup` installs."""

import os
import re
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PINS = (ROOT / "requirements" / "python.txt").read_text()
TORCH = (ROOT / "requirements" / "torch.txt").read_text()


def pins() -> dict[str, str]:
    lines = [line.partition("#")[0].strip() for line in (PINS + TORCH).splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_every_pin_has_its_reason():
    for line in PINS.splitlines():
        if line and not line.startswith("#"):
            assert re.fullmatch(r"[a-z0-9-]+==[\w.]+ +# \S.*", line), line


def test_what_the_project_declares_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, declared):
        assert requirement.specifier.contains(pins()[requirement.name]), requirement


def system(path: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run the check of the system with nothing on the path but ``path``."""
    environment = {"PATH": str(path), **extra}
    return subprocess.run(
        ["/bin/sh", ROOT / "requirements/system.sh"], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A machine with a shell, apt's absence and next to nothing else."""
    for name, text in (("id", "#!/bin/sh\necho 1000\n"), ("make", "#!/bin/sh\n"), ("perl", "#!/bin/sh\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(stat.S_IRWXU)
    return tmp_path


def test_what_is_missing_is_named_with_the_line_that_installs_it(bare):
    done = system(bare)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        "error: this machine lacks:",
        "  Python 3.11 or newer (or name one with PYTHON=/path/to/python3)",
        "  a C++ compiler (c++), for the simulator",
        "On Debian or Ubuntu this installs it:",
        "  sudo apt-get update && sudo apt-get install -y python3 python3-venv libpython3-dev g++ zlib1g-dev liblz4-dev",
        "Then run the same command again.",
    ]


def test_root_with_apt_gets_it_installed(bare):
    tools = {
        "id": "echo 0",
        "apt-get": f'echo "$@" >> {bare}/log; case $1 in install) {os.path.realpath("/bin/cp")} {bare}/make {bare}/c++;; esac',
        "python3": "exit 0",
    }
    for name, text in tools.items():
        (bare / name).write_text(f"#!/bin/sh\n{text}\n")
        (bare / name).chmod(stat.S_IRWXU)
    done = system(bare)
    assert (done.returncode, done.stdout) == (0, f"{bare}/python3\n"), done.stderr
    assert (bare / "log").read_text().splitlines() == [
        "update -q",
        "install -q -y --no-install-recommends g++ zlib1g-dev liblz4-dev",
    ]


def test_a_python_that_is_none(bare):
    done = system(bare, PYTHON="/nonexistent")
    assert done.returncode == 1
    assert done.stderr == "error: /nonexistent is not Python 3.11 or newer; name another with PYTHON=/path/to/python3\n"
