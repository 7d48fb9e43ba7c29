# The two commands: `make search` and `make test` each set up all they need.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
ARGS ?= --trials 50
OUTPUT ?= benchmark-gpu
DATA ?= auto
MINUTES ?= 8
STATE ?= evidence.tar.gz
OLDEST ?= .venv-oldest
MARKS ?= not slow and not browser
PLAN ?= studies/evidence/gpu.toml

.PHONY: help search test oldest lint format docs benchmark-gpu evidence clean

help:
	@echo "make search   set up, then search for the best network under 5 M parameters (ARGS='--trials 50')"
	@echo "make test     set up, then check style, types and layers and run the tests (MARKS='' for the slow ones too)"
	@echo "make oldest   the tests with the oldest versions that pyproject.toml allows"
	@echo "make docs     set up, then build the documentation: open site/index.html"
	@echo "make benchmark-gpu   training speed on a CUDA GPU, some twenty minutes (OUTPUT=folder for its results)"
	@echo "make evidence   resume the runs that the results are made of, for MINUTES=8 on a CUDA GPU"

search: $(VENV)/.installed
	$(BIN)/nas-budget search $(ARGS)

test: lint
	$(BIN)/pytest --numprocesses 2 -m "$(MARKS)"

oldest:
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python .ci/oldest.py > $(OLDEST)/constraints.txt
	$(OLDEST)/bin/python -m pip install --quiet --upgrade pip
	$(OLDEST)/bin/python -m pip install --quiet --constraint $(OLDEST)/constraints.txt --editable '.[dashboard,images,onnx,parquet]' \
		--group test
	$(OLDEST)/bin/python -m pytest --numprocesses 2 -W default -m "not slow and not browser" tests/arch tests/space tests/records \
		tests/train tests/search tests/optuna tests/report tests/cli

lint: $(VENV)/.developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

format: $(VENV)/.developed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.documented
	$(BIN)/python docs/generate.py
	$(BIN)/zensical build --strict --clean

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@echo "Setting up $(VENV) (a few minutes the first time: torch is large)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --constraint constraints.txt --upgrade pip
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.developed: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --group dev
	@touch $@

$(VENV)/.documented: $(VENV)/.installed
	$(PIP) install --constraint constraints.txt --group docs
	@touch $@

benchmark-gpu: $(VENV)/.installed
	$(BIN)/python benchmarks/training.py --device cuda --data $(DATA) --images 40000 --rounds 3 --output $(OUTPUT)
	$(BIN)/python benchmarks/gpu.py --data $(DATA) --output $(OUTPUT)

evidence: $(VENV)/.installed
	$(BIN)/python studies/evidence/run.py --plan $(PLAN) --minutes $(MINUTES) --state $(STATE)

clean:
	rm -rf $(VENV) $(OLDEST) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis site
