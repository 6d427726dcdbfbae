#!/bin/sh
# Makes .venv-peers: the packages of .venv, which must be there, and on top of them those of requirements/peers.txt.
set -eu
cd "$(dirname "$0")/.."

rm -f .venv-peers/stamp
.venv/bin/python -m venv --clear --without-pip .venv-peers
# Searched after the environment's own packages; addsitedir also heeds the file that makes this project importable.
below=$(.venv/bin/python -c 'import sysconfig; print("import site; site.addsitedir(" + repr(sysconfig.get_path("purelib")) + ")")')
echo "$below" >"$(.venv-peers/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/below.pth"

pip() { .venv-peers/bin/python -m pip --disable-pip-version-check --require-virtualenv --no-input "$@"; }

echo "Installing the packages of requirements/peers.txt"
# --no-deps: everything is pinned, here or in .venv, and nothing may bring another torch.
pip install --quiet --no-deps -r requirements/peers.txt
pip check
echo "Trying NNCF, which compiles an extension"
.venv-peers/bin/python -m triovit.bench.peers --tool nncf --network digits
touch .venv-peers/stamp
