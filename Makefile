# `make demo` and `make test` need nothing but a clone; see README.md.
#   PYTHON=/path/to/python3   the Python that .venv is made with (default: the first one >= 3.11)
#   CUDA=1                    torch with CUDA; by default its CPU build. `CUDA=` goes back.
#   JOBS=2                    tests at a time

CUDA ?= $(wildcard .venv/stamp-cuda)
STAMP := .venv/stamp-$(if $(CUDA),cuda,cpu)
BIN := .venv/bin
JOBS ?= 2
export CUDA PYTHON
# The simulator has makefiles of its own, to which nothing said here applies.
unexport MAKEFLAGS MAKELEVEL

.PHONY: help setup peers demo test test-full bench bench-quant lint clean

help:
	@echo "make setup      .venv with the pinned packages; redone when the pins change"
	@echo "make peers      .venv-peers with other quantizers, to be measured beside this one's"
	@echo "make demo       the whole road on the built-in network, into build/demo"
	@echo "make test       the tests"
	@echo "make test-full  the tests that take longer, too"
	@echo "make bench      the accelerator: whole networks in RTL, cycles, resources, beside the authors' and the goals, into"
	@echo "                docs/results.md and build/bench/summary.json; once stopped, it goes on where it was;"
	@echo "                ONLY='model/*' measures a part"
	@echo "make bench-quant  accuracy, speed and memory of this quantizer and of others, into docs/results.md; once stopped,"
	@echo "                it goes on where it was; ONLY='ablation/b0/*' measures a part"
	@echo "make lint       ruff and mypy"
	@echo "make clean      removes what the others built, but not .venv"

setup: $(STAMP)

$(STAMP): requirements/python.txt requirements/torch.txt requirements/setup.sh requirements/system.sh pyproject.toml
	@sh requirements/setup.sh

peers: .venv-peers/stamp

.venv-peers/stamp: $(STAMP) requirements/peers.txt requirements/peers.sh
	@sh requirements/peers.sh

demo: $(STAMP)
	$(BIN)/triovit demo

# Workers that each start a thread a core wait for one another most of the time.
test test-full: export OMP_NUM_THREADS = 1

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal -m "not full"

test-full: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal

bench: $(STAMP)
	$(BIN)/python -m triovit.bench.hardware $(if $(ONLY),--only '$(ONLY)')

# Without the others' environment their rows say why, with the last line of its log.
bench-quant: $(STAMP)
	@mkdir -p build/bench-quant
	@$(MAKE) --no-print-directory peers >build/bench-quant/peers.log 2>&1 || { tail -n 1 build/bench-quant/peers.log >&2; }
	$(BIN)/python -m triovit.bench $(if $(ONLY),--only '$(ONLY)')

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy

clean:
	rm -rf build .pytest_cache .ruff_cache .mypy_cache .hypothesis *.egg-info
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
