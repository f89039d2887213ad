# Short and for people: `make help`. Everything lives in .venv (and .venv-… beside it); nothing is installed outside.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The CPU package of ONNX Runtime; `make demo RUNTIME=gpu` takes the other (the two exclude one another).
RUNTIME ?= cpu
STAMP := $(VENV)/.installed-$(RUNTIME)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-speed test-openvino test-ort-gpu lint clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

test-speed: $(STAMP) ## What `sngan serve` must reach on the CPU, with nothing else at work: some 3 minutes
	$(BIN)/python benchmarks/untrained_generator.py cifar10 cpu $(VENV)/cifar10-untrained.onnx
	PATH="$(abspath $(BIN)):$$PATH" SNGAN_BENCH_GENERATOR="$(abspath $(VENV))/cifar10-untrained.onnx" \
		scripts/test -rs --numprocesses 0 tests/e2e/test_bench_serve_cpu.py

test-openvino: ## The serving tests on OpenVINO's ONNX Runtime, in an environment of its own
	PYTHON="$(PYTHON)" scripts/test-provider openvino

test-ort-gpu: ## The serving tests on ONNX Runtime's GPU package, which works without a GPU too; likewise
	PYTHON="$(PYTHON)" scripts/test-provider ort-gpu

clean: ## Remove the environments and what the demo wrote
	rm -rf $(VENV) $(VENV)-openvino $(VENV)-ort-gpu demo
