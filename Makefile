# `make figures` and `make test` are complete on a fresh machine with Python >= 3.10, make and git.
#   make figures NB=00 SCALE=smoke JOBS=2      run some notebooks, at another scale, side by side

PYTHON ?= python3
NB     ?=
SCALE  ?= tiny
JOBS   ?= 1

BIN := .venv/bin
GPU := $(shell nvidia-smi >/dev/null 2>&1 && echo yes)
ifeq ($(GPU),yes)
  EXTRAS := gpu,dev
else
  EXTRAS := cpu,dev
endif

.PHONY: figures schematics test lint benchmarks lab clean

figures: .venv/installed
	$(BIN)/python -m nbutils run $(NB) --scale $(SCALE) --jobs $(JOBS)

# Schematics of the methods, as SVG: the same bytes each time.
schematics: .venv/installed
	$(BIN)/python figures/schematics/draw.py

# Style, unsafe calls and dead code by ruff; who may import whom by import-linter. The rules are in pyproject.toml.
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache --no-logo

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

benchmarks: .venv/installed
	$(BIN)/python -m pytest tests/benchmarks --benchmark-enable -s

lab: .venv/installed
	$(BIN)/jupyter lab notebooks

# The CPU build of torch has its own index on Linux (the default build carries several GB of CUDA); where that index
# cannot be reached, or on other systems, the default is installed. Modules are compiled when they are first imported:
# most of them never are. The stamp makes a second call install nothing.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python >= 3.10 is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv
ifneq ($(GPU),yes)
	$(BIN)/pip install -q --no-compile -c constraints.txt --retries 0 torch --extra-index-url https://download.pytorch.org/whl/cpu \
	  || $(BIN)/pip install -q --no-compile -c constraints.txt torch
endif
	$(BIN)/pip install -q --no-compile -c constraints.txt -e '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf .venv data/cache
