# make demo: the demo experiment.  make test: the tests.  The other targets are for developers.
PYTHON ?= python3
CORES ?= 2
# OPTIONS=--full: make demo prints all that Snakemake logs.
OPTIONS ?=
VENV = .venv
BIN = $(VENV)/bin
# pip compiles one file after the other, which takes it longer than all else: compile on all cores.
INSTALL = $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	-c constraints.txt
COMPILE = $(BIN)/python -m compileall -q -j 0 -x '/(tests?|testing)/' $(VENV)/lib
# Installed: the packages to run experiments; those for tests and checks as well.
READY = $(VENV)/.workflow
DEV = $(VENV)/.installed

.PHONY: demo test test-all lint bench gpu-check figures report reference docs clean

demo: $(READY)
	$(BIN)/mose run config/demo.yaml --cores $(CORES) $(OPTIONS)

test: $(DEV)
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder -m 'not slow'

test-all: $(DEV)
	$(BIN)/python -m pytest -n $(CORES) --dist loadfile --no-loadscope-reorder

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy

bench: $(DEV)
	$(BIN)/python benchmarks/run.py --out results/benchmarks.json

gpu-check: $(DEV)
	$(BIN)/python benchmarks/gpu.py --out results/gpu

figures: $(READY)
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml --forcerun figures

# CONFIG=config/mine.yaml: the report of another experiment.
CONFIG ?= config/demo.yaml
report: $(READY)
	$(BIN)/mose run $(CONFIG) --cores $(CORES) $(OPTIONS) -- report_page

reference: $(READY)
	$(BIN)/python scripts/write_reference.py

# site/index.html opens without a network.
docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf site results/demo results/logs results/benchmarks .snakemake .pytest_cache .mypy_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[workflow]'
	$(COMPILE)
	touch $@

$(DEV): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e '.[workflow,dev]'
	$(COMPILE)
	touch $(READY) $@
