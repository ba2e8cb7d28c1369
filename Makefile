# make run          train, package and check the joint pipeline on corpus/
# make test         what CI runs: lint, format, types, quick tests
# make test-slow    tests that need weights, minutes, or build packages
# make test-tf      TensorFlow checkpoints against TensorFlow itself, in an environment of its own
# make benchmark        speed against other packages: a table and charts in metrics/speed/ (an hour)
# make benchmark-quick  the same on fewer texts, in minutes
# make installed    tests against an installed wheel instead of the checkout
# On Linux the torch of PyPI brings the CUDA libraries. For the CPU alone, before the first call:
#   export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt

.PHONY: run test test-slow test-tf benchmark benchmark-quick lint format types installed clean

run: $(VENV)/.stamp
	$(BIN)/python -m spacy project run all

test: lint types
	$(BIN)/python -m pytest

test-slow: $(VENV)/.stamp-dev
	$(BIN)/python -m pytest -m slow

test-tf: $(VENV)/.stamp-dev .venv-tf/.stamp
	BERT_SPACY_TF_PYTHON=$(CURDIR)/.venv-tf/bin/python $(BIN)/python -m pytest -m slow tests/weights/test_tf_real.py

benchmark: $(VENV)/.stamp-benchmark
	$(BIN)/python -m benchmarks.speed

benchmark-quick: $(VENV)/.stamp-benchmark
	$(BIN)/python -m benchmarks.speed --quick

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.stamp-dev
	$(BIN)/mypy

installed:
	rm -rf build dist/installed && mkdir -p dist/installed
	$(PYTHON) -m pip wheel . --no-deps --quiet --wheel-dir dist/installed
	$(PYTHON) -m venv dist/installed/venv
	dist/installed/venv/bin/python -m pip install -c constraints.txt "$$(ls dist/installed/*.whl)[dev]"
	cd dist/installed && venv/bin/python -m pytest -c ../../pyproject.toml --rootdir ../.. --import-mode=importlib ../../tests

clean:
	rm -rf build dist data training metrics report packages predictions project.lock

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.stamp: $(VENV)/bin/python setup.cfg bert_spacy/__init__.py constraints.txt
	$(PIP) -e ".[project,report,zh]"
	touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp
	$(PIP) -e ".[dev]"
	touch $@

.venv-tf/.stamp:
	$(PYTHON) -m venv .venv-tf
	.venv-tf/bin/python -m pip install --disable-pip-version-check tensorflow-cpu
	touch $@

$(VENV)/.stamp-benchmark: $(VENV)/.stamp
	$(PIP) -e ".[benchmark]"
	$(BIN)/python -m bert_spacy weights fetch minilm-l6-en
	$(BIN)/python -m bert_spacy weights fetch albert-tiny-zh
	touch $@
