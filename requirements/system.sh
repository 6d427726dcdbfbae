#!/bin/sh
# Checks for what pip cannot install: Python >= 3.11 with venv, a C++ compiler, make, perl and two libraries' headers.
# Names what is missing and the line that installs it; installs it itself when run as root where there is apt.
# Prints the Python to use on standard output, everything else on standard error.
# PYTHON=... chooses a Python.
set -eu

say() { echo "$*" >&2; }

recent() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# The named Python, or the first recent one.
python() {
    if [ -n "${PYTHON:-}" ]; then
        if recent "$PYTHON"; then echo "$PYTHON"; fi
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python3.14; do
        if recent "$name"; then
            command -v "$name"
            return
        fi
    done
}

# cocotb loads Python into the simulator, so it needs it as a shared library.
libpython() {
    "$1" -c '
import pathlib, sys, sysconfig
name = sysconfig.get_config_var("INSTSONAME") or ""
places = [sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LIBPL"), sys.base_prefix + "/lib", sys.base_prefix]
sys.exit(name.endswith(".a") or not any(place and (pathlib.Path(place) / name).exists() for place in places))'
}

header() { echo "#include <$1>" | c++ -E -x c++ - >/dev/null 2>&1; }

missing=
packages=
need() { # what, apt packages
    missing="$missing
  $1"
    packages="$packages $2"
}

look() {
    missing=
    packages=
    python=$(python)
    if [ -z "$python" ] && [ -n "${PYTHON:-}" ]; then
        say "error: $PYTHON is not Python 3.11 or newer; name another with PYTHON=/path/to/python3"
        exit 1
    elif [ -z "$python" ]; then
        need "Python 3.11 or newer (or name one with PYTHON=/path/to/python3)" "python3 python3-venv libpython3-dev"
    else
        "$python" -c 'import ensurepip, venv' 2>/dev/null || need "Python's venv module" "python3-venv"
        libpython "$python" || need "Python's shared library (of $python; one built without --enable-shared cannot be used)" "libpython3-dev"
    fi
    command -v c++ >/dev/null || need "a C++ compiler (c++), for the simulator" "g++"
    command -v make >/dev/null || need "make, for the simulator" "make"
    perl -MPod::Usage -e 1 2>/dev/null || need "perl with its standard modules, for Verilator" "perl"
    if command -v c++ >/dev/null; then
        header zlib.h || need "zlib's headers, for waveforms" "zlib1g-dev"
        header lz4.h || need "lz4's headers, for waveforms" "liblz4-dev"
    else
        packages="$packages zlib1g-dev liblz4-dev"
    fi
}

look
if [ -n "$missing" ] && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    say "Installing with apt what is missing:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of packages
    { apt-get update -q && apt-get install -q -y --no-install-recommends $packages; } >&2 || say "apt-get failed"
    look
fi
if [ -n "$missing" ]; then
    say "error: this machine lacks:$missing"
    say "On Debian or Ubuntu this installs it:"
    say "  sudo apt-get update && sudo apt-get install -y$packages"
    say "Then run the same command again."
    exit 1
fi
echo "$python"
