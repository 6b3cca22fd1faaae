# Everything a developer starts, by one word each. `make` alone lists them.
# The virtual environment is made at first use and again when pyproject.toml or constraints.txt change.

VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The first of these that is Python 3.11 or newer; `make PYTHON=/path/to/python3 ...` names another.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$python && break; done)

# Addresses of `make run`.
LISTEN ?= 127.0.0.1:7999
CONTROL ?= 127.0.0.1:5561
BACKEND ?= 127.0.0.1:8000

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:
	@echo "make run         headline example and proxy together: http://$(LISTEN)/, Ctrl-C stops both"
	@echo "make test        every test, several files at a time (make test PYTEST='tests/unit -x' for some, in turn)"
	@echo "make conformance the protocol's cases against gripproxy and Pushpin, and what they do differently"
	@echo "make autobahn    every Autobahn case for WebSockets, against both doors (a few minutes)"
	@echo "make fuzz        search for inputs that a parser takes badly, a minute for each (FUZZ='instruct --seconds 600')"
	@echo "make lint        ruff: rules and format"
	@echo "make types       mypy"
	@echo "make image-test  build both container images and use them (needs root, buildah, podman, runc)"
	@echo "make clean       remove the virtual environment and caches"

.PHONY: run
run: $(INSTALLED)
	@exec $(BIN)/python headline_backend/run.py --with-parent \
		--listen $(LISTEN) --control $(CONTROL) --backend $(BACKEND)

# Files side by side, since most tests wait most of the time; in each file one test after the other.
.PHONY: test
test: $(INSTALLED)
	$(BIN)/python -m pytest $(if $(PYTEST),$(PYTEST),--numprocesses auto --maxprocesses 4 --dist loadfile)

# The protocol's cases against both proxies (make conformance PROXY=pushpin for one), three to four minutes each.
.PHONY: conformance
conformance: $(INSTALLED)
	$(BIN)/python -m tests.conformance $(PROXY:%=--proxy %)

.PHONY: autobahn
autobahn: $(INSTALLED)
	$(BIN)/python -m tests.autobahn

.PHONY: fuzz
fuzz: $(INSTALLED)
	$(BIN)/python -m tests.fuzz $(FUZZ)

.PHONY: lint
lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.PHONY: types
types: $(INSTALLED)
	$(BIN)/mypy

.PHONY: image-test
image-test:
	$(PYTHON) tests/image/run.py

.PHONY: clean
clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis

# pip takes the versions of constraints.txt, the build backend's included, so that an install next year is today's.
$(INSTALLED): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "gripproxy needs Python 3.11 or newer, and there is none on PATH:" \
		"apt-get install python3 python3-venv (macOS: brew install python)," \
		"or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments:" \
		"apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt setuptools wheel hatchling editables
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[redis,zmq,test,dev]'
	@touch $@
