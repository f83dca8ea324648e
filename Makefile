# make demo: the main job.  make test: the tests.  The rest is for those who change the code.
PYTHON ?= python3
CORES ?= 2
VENV = .venv
BIN = $(VENV)/bin
READY = $(VENV)/.installed

.PHONY: demo test test-all lint bench figures clean

demo: $(READY)
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml

test: $(READY)
	$(BIN)/python -m pytest -n $(CORES) --dist loadgroup -m 'not slow'

test-all: $(READY)
	$(BIN)/python -m pytest -n $(CORES) --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python benchmarks/run.py --out results/benchmarks.json

figures: $(READY)
	$(BIN)/snakemake --cores $(CORES) --configfile config/demo.yaml --forcerun figures

clean:
	rm -rf results/demo results/logs results/benchmarks .snakemake .pytest_cache .mypy_cache .ruff_cache

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
