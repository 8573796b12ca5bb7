# Every task of this repository. `make` alone lists them; each one sets up what it needs first.
#
# Nothing but make and a Python of at least 3.11 has to be there: the tools and the libraries are installed
# into .venv, at the versions and with the hashes in requirements.lock.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# The first Python that is new enough; `make setup PYTHON=/path/to/python` chooses another one.
NEW_ENOUGH := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	$$candidate -c '$(NEW_ENOUGH)' 2>/dev/null && { echo $$candidate; break; }; done)

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV := $(BIN)/uv
ARGS ?=

# uv does not read pip's settings; a mirror that is set for pip counts for it as well.
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif

.PHONY: help setup demo test check format schemas bench lock clean

help: ## List the tasks
	@echo "chatledger: the tasks of this repository"
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo
	@echo "Start with make demo. ARGS passes options on: make demo ARGS=\"--clients 20\", make test ARGS=\"-k ledger\"."

setup: $(READY) ## Install the locked libraries and chatledger itself into .venv (does nothing when that is done)
	@echo "Ready. make demo shows it at work."

demo: $(READY) ## Start the embedded broker and database, send webhooks of many customers, show what came of them
	@$(BIN)/chatledger demo $(ARGS)

test: $(READY) ## Run every test
	@$(BIN)/python -m pytest $(ARGS)

check: $(READY) ## Lint, check the format, the types, who imports whom, and the house rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m pytest --durations=0 tests/tidy

format: $(READY) ## Sort the imports and format the code
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

schemas: $(READY) ## Write schemas/ anew from the event classes
	@$(BIN)/python -m chatledger_cli.schemas $(ARGS)

bench: $(READY) ## Run the benchmarks, each beside a peer; one JSON line each
	@$(BIN)/python -m benchmarks $(ARGS)

lock: $(READY) ## Resolve the libraries anew and write requirements.lock (ARGS="--upgrade" takes the newest)
	@$(UV) pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --quiet \
		--output-file requirements.lock $(ARGS)

clean: ## Remove .venv, caches and builds; what a running chatledger kept in var/ stays
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# The file .ready is newer than the lock and pyproject.toml exactly when .venv holds what they say.
$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" && $(PYTHON) -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo "chatledger needs Python 3.11 or newer with its venv module; $(or $(PYTHON),python3) does not do: `$(or $(PYTHON),python3) --version 2>&1`."; \
		echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.13),"; \
		echo "or name one that is not on the PATH: make setup PYTHON=/path/to/python3.13"; exit 1; }
	@echo "Setting up .venv from requirements.lock"
	@$(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@awk '/^[^ ]/ { its_own = /^uv==/ } its_own' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	@$(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $(READY)
