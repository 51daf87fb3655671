# make demo: from nothing to a picked plane and a picture. make test: from nothing to passed tests.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
UV = $(PY) -m uv pip
DEMO := demo
# OpenMP in every worker process on top of a process per core only makes the cores wait for each other.
export OMP_NUM_THREADS ?= 2

.PHONY: setup lock pin-images demo test lint types benchmark clean

setup: .venv/.installed

# uv installs in a tenth of pip's time; compiled bytecode makes the first start as fast as the later ones. The packages
# come from the lock, with their hashes; the project itself is linked, built by what the lock holds.
.venv/.installed: pyproject.toml requirements.txt requirements-dev.txt
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(UV) install --quiet --compile-bytecode --require-hashes -r requirements.txt -r requirements-dev.txt
	$(UV) install --quiet --no-deps --no-build-isolation --editable .
	touch $@

# pyproject.toml says what is needed; this writes the versions that run together. make lock NEW=--upgrade takes the latest.
# The second file holds only what the first does not.
LOCK := compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
	--custom-compile-command "make lock" $(NEW)
lock:
	$(UV) $(LOCK) --extra train --extra serve --output-file requirements.txt
	$(UV) $(LOCK) --extra dev --constraint requirements.txt --output-file requirements-dev.txt \
		$$(sed -nE 's/^([a-z0-9-]+)==.*/--no-emit-package \1/p' requirements.txt)

# Digests of the container's base images, as their registries have them now, into the Dockerfile. Needs docker's buildx.
pin-images:
	for image in $$(sed -nE 's/^ARG [A-Z]+_IMAGE=([^@]+).*/\1/p' Dockerfile); do \
		digest=$$(docker buildx imagetools inspect "$$image" --format '{{.Manifest.Digest}}') && \
		sed -i.before -E "s|(_IMAGE=$$image).*|\1@$$digest|" Dockerfile && rm Dockerfile.before || exit 1; \
	done

demo: setup
	$(PY) cli.py simulate $(DEMO)/dataset --stacks 60 --seed 1 --instrument dry50 --overwrite
	$(PY) cli.py inspect $(DEMO)/dataset --output $(DEMO)/contact_sheet.png
	$(PY) cli.py baseline $(DEMO)/dataset --output $(DEMO)/baseline
	$(PY) cli.py train-cnn $(DEMO)/dataset --output $(DEMO)/cnn --preset quick
	$(PY) cli.py compare $(DEMO)/baseline $(DEMO)/cnn --output $(DEMO)/compare
	$(PY) cli.py pick-focus $(DEMO)/dataset/cell_stacks/stack_001_cell_0 --model $(DEMO)/cnn --plot $(DEMO)/pick.png
	rm -rf $(DEMO)/labelled
	$(PY) cli.py simulate $(DEMO)/other_microscope --stacks 10 --seed 3 --instrument drawn:scanner --overwrite
	$(PY) cli.py label $(DEMO)/other_microscope/cell_stacks --output $(DEMO)/labelled
	$(PY) cli.py adapt $(DEMO)/labelled --output $(DEMO)/adapted
	$(PY) cli.py score $(DEMO)/other_microscope/cell_stacks/stack_001_cell_0 --model $(DEMO)/adapted
	@echo "Look at $(DEMO)/pick.png (the picked plane), $(DEMO)/contact_sheet.png (the data)," \
		"$(DEMO)/compare/compare.png (baseline and CNN side by side), $(DEMO)/labelled/labelling.png (what labelled itself)" \
		"and $(DEMO)/adapted/predicted.png (a model made from those stacks alone)."

test: lint
	$(PY) -m pytest -n 2 --dist loadscope

lint: setup types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

types: setup
	mkdir -p build/mypy && ln -sfn ../.. build/mypy/focus_picker
	$(PY) -m mypy

benchmark: setup
	$(PY) -m benchmarks.features --output results/features_benchmark.md

clean:
	rm -rf .venv build $(DEMO) .pytest_cache .ruff_cache .mypy_cache .hypothesis
