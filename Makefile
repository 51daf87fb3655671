# make demo: from nothing to a picked plane and a picture. make test: from nothing to passed tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
DEMO := demo
# OpenMP in every worker process on top of a process per core only makes the cores wait for each other.
export OMP_NUM_THREADS ?= 2

.PHONY: setup demo test lint benchmark clean

setup: .venv/.installed

# uv installs in a tenth of pip's time; compiled bytecode makes the first start as fast as the later ones.
.venv/.installed: $(wildcard requirements*.txt) pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(PY) -m uv pip install --quiet --compile-bytecode --python $(PY) -r requirements-dev.txt --editable .
	touch $@

demo: setup
	$(PY) cli.py simulate $(DEMO)/dataset --stacks 60 --seed 1 --instrument dry50 --overwrite
	$(PY) cli.py inspect $(DEMO)/dataset --output $(DEMO)/contact_sheet.png
	$(PY) cli.py baseline $(DEMO)/dataset --output $(DEMO)/baseline
	$(PY) cli.py train-cnn $(DEMO)/dataset --output $(DEMO)/cnn --preset quick
	$(PY) cli.py compare $(DEMO)/baseline $(DEMO)/cnn --output $(DEMO)/compare
	$(PY) cli.py pick-focus $(DEMO)/dataset/cell_stacks/stack_001_cell_0 --model $(DEMO)/cnn --plot $(DEMO)/pick.png
	@echo "Look at $(DEMO)/pick.png (the picked plane), $(DEMO)/contact_sheet.png (the data)" \
		"and $(DEMO)/compare/compare.png (baseline and CNN side by side)."

test: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pytest -n 2

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

benchmark: setup
	$(PY) -m benchmarks.features --output results/features_benchmark.md

clean:
	rm -rf .venv $(DEMO) .pytest_cache .ruff_cache .mypy_cache .hypothesis
