# Each target sets up .venv first; a .venv that is up to date is used as it is.
#
#   make demo | test | setup | ui | lint | bench
#   make setup TORCH=torch      your platform's default build of torch (on Linux x86-64: CUDA, gigabytes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Without an NVIDIA driver only the CPU build will do: its local version cannot be met by a CUDA wheel by accident.
ifeq ($(shell uname -sm)$(shell command -v nvidia-smi),Linux x86_64)
TORCH ?= torch==2.13.0+cpu
else
TORCH ?= torch
endif

.PHONY: setup demo test ui lint bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "making $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing (once; about 2 minutes)"
	@$(PIP) pip setuptools
	@$(PIP) '$(TORCH)' || { \
	  echo "No CPU build of torch is in reach of pip. Add PyTorch's CPU index (PIP_EXTRA_INDEX_URL), or take your"; \
	  echo "platform's default build: make setup TORCH=torch"; exit 1; }
	@PYTHONWARNINGS=ignore $(PIP) --no-build-isolation --editable '.[test]'
	@touch $@

demo: setup
	@test -f runs/phantoms/manifest.csv || $(BIN)/medseg phantom --output runs/phantoms --studies 16 --seed 0
	$(BIN)/medseg run pipelines/quickstart.yaml

test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 -m 'not browser'
	$(BIN)/python -m pytest -m browser

ui: setup
	$(BIN)/medseg ui --runs runs

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python bench/main_job.py

clean:
	rm -rf $(VENV)
