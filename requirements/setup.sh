#!/bin/sh
# Makes .venv with everything in requirements/ and this project, editable. CUDA=1: torch with CUDA. PYTHON=...: this Python.
set -eu
cd "$(dirname "$0")/.."

python=$(sh requirements/system.sh)
# One that was left half-made, or whose Python has gone, is made anew.
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
rm -f .venv/stamp-*

pip() { .venv/bin/python -m pip --disable-pip-version-check --require-virtualenv --no-input "$@"; }

echo "Installing the packages of requirements/python.txt"
pip install --quiet -r requirements/python.txt

torch=$(sed -n 's/^torch==//p' requirements/torch.txt)
installed=$(.venv/bin/python -c 'import torch; print(torch.__version__.split("+")[0], torch.version.cuda or "cpu")' 2>/dev/null || true)
if [ "${CUDA:-}" ]; then
    # "===" is the version without "+cpu"; its dependencies bring the CUDA packages.
    echo "Installing torch $torch with CUDA: several GB"
    pip install -c requirements/python.txt "torch===$torch"
elif [ "$installed" != "$torch cpu" ]; then
    # The CPU build is the version with "+cpu" behind it. Some indexes and wheel folders offer it: ask the configured ones first.
    # The general index has, for Linux, the CUDA build only: then PyTorch's own index of CPU builds is the place. Its dependencies
    # are all in requirements/python.txt, so --no-deps keeps everything else out.
    echo "Installing torch $torch, CPU build"
    pip install --quiet --no-deps "torch==$torch+cpu" 2>/dev/null ||
        pip install --quiet --no-deps --force-reinstall --index-url https://download.pytorch.org/whl/cpu "torch==$torch" || {
        echo "error: no CPU build of torch $torch for this Python at the configured package index or at download.pytorch.org;" \
            "run again with a network, name another Python with PYTHON=..., or take the CUDA build with CUDA=1" >&2
        exit 1
    }
fi

pip install --quiet --no-deps --no-build-isolation --editable .
if [ "${CUDA:-}" ]; then touch .venv/stamp-cuda; else touch .venv/stamp-cpu; fi
