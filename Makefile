VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test slow lint types format docs bench torture versions clean

demo: $(VENV)/installed  ## the main job on scikit-learn's digits: condense, search, verdict, report
	rm -rf runs/demo
	$(BIN)/hcdc condense digits --size 50 --out runs/demo
	$(BIN)/hcdc search runs/demo --algorithm random --trials 40
	$(BIN)/hcdc evaluate runs/demo --configs 24 --seeds 2

test: $(VENV)/developing  ## everything that takes seconds
	$(BIN)/python -m pytest -m "not slow"

slow: $(VENV)/developing  ## whole runs on real data; minutes
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/developing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/developing
	$(BIN)/pyright

format: $(VENV)/developing
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/developing  ## the site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

bench: $(VENV)/developing  ## hypergradients beside other libraries, distance from the floor, GCond, growth, the span of S_train; into benchmarks/results
	$(INSTALL) --editable '.[bench]'
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.hypergradients
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.floor
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.condensation
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.growth
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.span

torture: $(VENV)/developing  ## kills, damaged files, derivatives, known weaknesses; a quarter of an hour
	$(BIN)/python -m torture.kills
	$(BIN)/python -m torture.fuzz
	-$(INSTALL) --editable '.[torture]'  # where atheris has no wheel, the next line says so
	$(BIN)/python -m torture.guided
	$(BIN)/python -m torture.properties
	$(BIN)/python -m torture.audit

versions: $(VENV)/developing  ## a selection of the tests under the lowest and newest supported libraries; fetches them
	$(BIN)/python -m torture.versions

clean:
	rm -rf $(VENV) runs site

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing into $(VENV): a minute or a few, and about 1.4 GB"
	$(INSTALL) --editable '.[all]'
	touch $@

$(VENV)/developing: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) --editable '.[dev]'
	touch $@ $(VENV)/installed
