# `make quickstart` and `make test` work on a fresh machine with Python >= 3.11, git and make.
PYTHON ?= python3
VENV ?= .venv
PY = $(VENV)/bin/python
RUN ?= runs/quickstart
# Where CIFAR-10 lies; empty is TFDS' own directory.
DATA_DIR ?=
DATA = $(if $(DATA_DIR),--config.data.data_dir=$(DATA_DIR))

.PHONY: quickstart test lint results-digits results-cifar10-cpu tables benchmark clean

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "error: $(PYTHON) is older than Python 3.11; run make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet -r requirements.txt
	@touch $@

# The main job on the data set that is always there: learn codes, measure them.
quickstart: $(VENV)/.installed
	$(PY) train.py --config configs/digits_16bit.py --workdir $(RUN)
	$(PY) eval.py --workdir $(RUN)
	@echo "Codes: $(RUN)/codes.npz  measures: $(RUN)/eval.json  synthetic images: $(RUN)/samples/"

test: lint
	$(PY) -m pytest -q tests

lint: $(VENV)/.installed
	$(PY) -m ruff check .
	$(PY) -m mypy

clean:
	rm -rf $(VENV) runs
