# Short and for people: `make help`. Everything lives in .venv; nothing is installed outside it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU package of ONNX Runtime; `make demo RUNTIME=gpu` takes the other (the two exclude one another).
RUNTIME ?= cpu
STAMP := $(VENV)/.installed-$(RUNTIME)

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make the virtual environment with all packages (a few GB with PyTorch)

$(STAMP): pyproject.toml
	@$(PYTHON) scripts/require_python.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing packages into $(VENV); PyTorch is large, this takes minutes the first time"
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# setuptools warns that an editable install can be shadowed; it is what is wanted here
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --editable '.[train,evaluate,export,serve,$(RUNTIME),dev]'
	@touch $@

demo: $(STAMP) ## Train on real digits, export, serve, ask over HTTP: the whole road in minutes
	$(BIN)/sngan demo --output demo

lint: $(STAMP) ## Style, types and import arrows
	PATH="$(abspath $(BIN)):$$PATH" scripts/lint

test: $(STAMP) ## Lint, then every test that this machine can run
	PATH="$(abspath $(BIN)):$$PATH" scripts/lint
	PATH="$(abspath $(BIN)):$$PATH" scripts/test

clean: ## Remove the environment and what the demo wrote
	rm -rf $(VENV) demo
