# Each target sets up all that it needs; only Python 3.11 or newer, make and git must be there.
#
#   make setup    the virtual environment .venv with the locked dependencies, and peerpouch itself
#   make demo     two processes share one database and replicate it peer to peer
#   make test     every test             (make test ARGS='-k hub')
#   make test-network   replication in every network of tests/network, and 100 runs with cuts and kills: two hours, as root
#   make fuzz     fuzz the channel, a minute for each target    (make fuzz ONLY=frames ARGS='--seconds 3600')
#   make lint     lint, format and types
#   make check    the same, and the quick tests
#   make browser  the browser plugin: types, size and its own tests
#   make bench    the figures, 40 minutes   (make bench SHORT=1; make bench ONLY=bulk-write; make bench ARGS=--list)

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-node setup-browser browser demo test test-network fuzz lint check bench lock clean

VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# The first Python that is new enough. `make PYTHON=/path/to/python3 …` says which.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python python3.13 python3.12 python3.11; do \
	if $$python -c '$(NEW_ENOUGH)' 2>/dev/null; then command -v $$python; break; fi; done)

STAMP := $(VENV)/.stamp
STAMP_DEV := $(VENV)/.stamp-dev
NODE := tests/interop/node
STAMP_NODE := $(NODE)/node_modules/.stamp
BROWSER := browser
STAMP_BROWSER := $(BROWSER)/node_modules/.stamp

help:
	@sed -n 's/^#   //p' $(MAKEFILE_LIST)

setup: $(STAMP)
setup-dev: $(STAMP_DEV)
setup-node: $(STAMP_NODE)
setup-browser: $(STAMP_BROWSER)

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'peerpouch needs Python 3.11 or newer; none was found. Say where: make PYTHON=/path/to/python3' >&2; exit 1; }
	'$(PYTHON)' -m venv $(VENV)

INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# --no-deps: every dependency is in the lock, so nothing unlocked slips in.
EDITABLE := $(INSTALL) --no-deps --no-build-isolation --editable .

$(STAMP): requirements.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes --requirement requirements.lock
	$(EDITABLE)
	@touch $@

# A superset of requirements.lock in the same versions.
$(STAMP_DEV): requirements-dev.lock pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes --requirement requirements-dev.lock
	$(EDITABLE)
	@touch $(STAMP) $@

$(STAMP_NODE): $(NODE)/package.json $(NODE)/package-lock.json
	cd $(NODE) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

$(STAMP_BROWSER): $(BROWSER)/package.json $(BROWSER)/package-lock.json
	cd $(BROWSER) && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# The tests with real PouchDB and of the browser plugin need Node; where there is none they are skipped, and say so.
ifneq ($(shell command -v npm 2>/dev/null),)
WITH_NODE := $(STAMP_NODE) $(STAMP_BROWSER)
endif

demo: $(STAMP)
	$(BIN)/peerpouch demo $(ARGS)

test: $(STAMP_DEV) $(WITH_NODE)
	$(BIN)/python -m pytest $(ARGS)

browser: $(STAMP_BROWSER)
	cd $(BROWSER) && npm run --silent check && npm test --silent

# -s: it says how far it is.
test-network: $(STAMP_DEV)
	PEERPOUCH_NETWORK=all $(BIN)/python -m pytest -s tests/network $(ARGS)

# atheris guides the inputs by coverage where it has a build; it is no part of the lock.
fuzz: $(STAMP_DEV)
	$(INSTALL) atheris || echo 'without atheris: inputs by chance'
	$(BIN)/python -m tests.fuzz $(ONLY) $(ARGS)

lint: $(STAMP_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: lint $(WITH_NODE)
	$(BIN)/python -m pytest -q -m 'not slow' $(ARGS)

bench: $(STAMP_DEV) $(WITH_NODE)
	$(BIN)/python -m benchmarks $(ONLY) $(if $(SHORT),--short) $(ARGS)

# Needs uv. The second lock takes the first one's versions.
COMPILE := uv pip compile pyproject.toml --quiet --universal --generate-hashes --no-header --no-emit-index-url --no-annotate
lock:
	$(COMPILE) --extra server --group build --output-file requirements.lock
	$(COMPILE) --extra server --extra aiortc --extra js --group dev --constraints requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) $(NODE)/node_modules $(BROWSER)/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
