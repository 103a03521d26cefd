# Every action is one verb; CI calls the same ones (.ci/run).
SHELL := bash
BIN := .venv/bin
GPU := .venv-gpu
COMPILE := $(BIN)/uv pip compile --quiet --universal --generate-hashes --python-version 3.11
# The stack has the machine for itself; it is tested whatever became of the others.
TEST_ALL = $(BIN)/pytest -n 2 --dist loadfile tests/unit tests/dags; units=$$?; $(BIN)/pytest tests/stack && exit $$units
.DEFAULT_GOAL := help
.PHONY: help install install-dev install-gpu up down status logs demo test test-faults test-browser test-diffusion test-gpu prove-containers lint format lock docs screenshots bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

install: ## make .venv with the command darkroom; PYTHON=... chooses the interpreter
	@PYTHON="$(PYTHON)" tools/install requirements.txt

install-dev:
	@PYTHON="$(PYTHON)" tools/install requirements.txt requirements-dev.txt

install-gpu: ## make .venv-gpu for model servers: PyTorch and diffusers, no Airflow; 5.6 GB
	@VENV=$(GPU) PYTHON="$(PYTHON)" tools/install requirements-gpu.txt

up: install ## start the plant and wait until all of it works
	@$(BIN)/darkroom up

down: ## stop the plant
	@[ ! -x $(BIN)/darkroom ] || $(BIN)/darkroom down

status: install ## state, process and memory of each part
	@$(BIN)/darkroom status

logs: install ## the end of the logs; PART=scheduler for one, ARGS=-f to follow
	@$(BIN)/darkroom logs $(PART) $(ARGS)

demo: install ## the whole plant and three small batches
	@$(BIN)/darkroom demo

test: install-dev ## all tests but those of faults and of the browser; ARGS="tests/unit -k name" for some
	$(if $(ARGS),$(BIN)/pytest $(ARGS),$(TEST_ALL))

test-faults: install-dev ## kill, hang and break each part of a plant in the middle of a batch
	$(BIN)/pytest tests/faults $(ARGS)

test-browser: install-dev ## the UI in a real browser, on a plant of its own; needs Debian's chromium
	$(BIN)/pytest tests/browser $(ARGS)

test-diffusion: ## the tests that need PyTorch, on the CPU, in .venv-gpu; GPU=... names another environment
	@[ -x $(GPU)/bin/python ] || { echo "there is no $(GPU): make install-gpu makes it" >&2; exit 1; }
	$(GPU)/bin/python -c 'import pytest, pytest_timeout, hypothesis' 2> /dev/null || \
		$(GPU)/bin/uv pip install --quiet --python $(GPU)/bin/python -c requirements-dev.txt -c requirements.txt \
		pytest pytest-timeout hypothesis
	CUDA_VISIBLE_DEVICES= PYTHONPATH=include:. $(GPU)/bin/python -m pytest tests/unit/test_stage_diffusion.py \
		tests/unit/test_stage_contract.py $(ARGS)

test-gpu: ## the tests that need a GPU, in .venv-gpu
	@[ -x $(GPU)/bin/python ] || { echo "there is no $(GPU): make install-gpu makes it" >&2; exit 1; }
	$(GPU)/bin/python -c 'import pytest, pytest_timeout, redis' 2> /dev/null || \
		$(GPU)/bin/uv pip install --quiet --python $(GPU)/bin/python -c requirements-dev.txt -c requirements.txt \
		pytest pytest-timeout redis
	PYTHONPATH=include:. $(GPU)/bin/python -m pytest tests/gpu $(ARGS)

prove-containers: install-dev ## build and run the containers with podman and stand-in base images; Debian, as root, 30 minutes
	$(BIN)/python -m tests.containers.prove $(ARGS)

lint: install-dev ## style, types, who imports whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install-dev ## put the code into its usual form
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

lock: install-dev ## compile the requirements anew, with hashes
	$(COMPILE) requirements.in -o requirements.txt
	$(COMPILE) requirements-dev.in -o requirements-dev.txt
	$(COMPILE) requirements-container.in -o requirements-container.txt
	$(COMPILE) --no-emit-package onnxruntime requirements-gpu.in -o requirements-gpu.txt

docs: install ## write the generated pages
	$(BIN)/python -m darkroom.stack.settings_page > docs/settings.md
	AIRFLOW_HOME=$$(mktemp -d) $(BIN)/python -m darkroom.orchestration.dag_docs > /dev/null

screenshots: install-dev ## the same, and photograph the UI for docs/
	DARKROOM_SCREENSHOTS=docs/images $(BIN)/pytest tests/browser $(ARGS)

bench: up ## measure again, into bench/results/, for two and a half hours; some start plants of their own
	$(BIN)/python -m bench.latency 30
	$(BIN)/python -m bench.server_overhead
	$(BIN)/python -m bench.batching
	$(BIN)/python -m bench.throughput
	$(BIN)/python -m bench.gpu_idle
	$(BIN)/python -m bench.simulate
	$(BIN)/python -m bench.collect
	$(BIN)/python -m bench.plan
	$(BIN)/python -m bench.unequal
	$(BIN)/python -m bench.orchestration
	$(BIN)/python -m bench.interactive
	$(BIN)/python -m bench.backfill
	$(BIN)/python -m bench.what_if --simulated
	$(BIN)/python -m bench.what_if
	$(BIN)/python -m bench.look
	$(BIN)/python -m bench.board
	$(BIN)/python -m bench.boards

clean: ## stop the plant; remove its state (data, pictures, secrets) and all caches
	@[ ! -x $(BIN)/darkroom ] || $(BIN)/darkroom down --purge
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +
