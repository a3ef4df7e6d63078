# Everything starts here: `make serve` and `make test` need Python 3.11+ and nothing else.
VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
# the client is a distribution of its own that the service needs: one call installs both, so that no index is asked for it
PIP_INSTALL = $(BIN)/python -m pip install --quiet -c constraints.txt -e ./client -e

# compiled modules are kept whatever the shell says: the tests start hundreds of processes, and each would compile them
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup serve dev check test test-all fuzz lint lint-page format docs page bench storm kills upgrade clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or name one by PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is needed (on Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

# Two stamps, so that serving does not wait for the test and lint tools; the fuller one fulfils both.
$(VENV)/.serve-ready: pyproject.toml client/pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the service into $(VENV) (once; a few minutes)"
	@$(PIP_INSTALL) '.'
	@touch $@

$(VENV)/.dev-ready: pyproject.toml client/pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing the service and its test and lint tools into $(VENV) (once; a few minutes)"
	@$(PIP_INSTALL) '.[test,lint,scale,clients]'
	@touch $@ $(VENV)/.serve-ready

setup: $(VENV)/.dev-ready ## Make the virtual environment with everything in it

serve: $(VENV)/.serve-ready ## Serve on http://127.0.0.1:8000 (flags by ARGS='--port 9000')
	@exec $(BIN)/vision serve $(ARGS)

$(VENV)/.edit-ready: $(VENV)/.dev-ready
	@$(PIP_INSTALL) '.[dev]'
	@touch $@

dev: $(VENV)/.edit-ready ## Serve, and start again whenever code or a strategy changes
	@exec $(BIN)/watchfiles --filter python '$(BIN)/vision serve $(ARGS)' app client/src workers strategies migrations

# LiteLLM, LangChain and LlamaIndex bring another openai than the one beside ours: an environment of their own, pinned
CLIENTS_VENV ?= .venv-clients

$(CLIENTS_VENV)/.ready: tests/compat/clients.txt | $(BIN)/python
	@echo "Installing other projects' clients into $(CLIENTS_VENV) (once)"
	@$(BIN)/python -m venv $(CLIENTS_VENV)
	@if $(CLIENTS_VENV)/bin/python -m pip install --quiet --no-deps -r tests/compat/clients.txt; then touch $@; \
	else echo "Other projects' clients could not be installed: their tests are skipped" >&2; fi

WORKERS ?= 2
# files are handed out in the order of tests/conftest.py, the longest first
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev-ready ## Format, lint, types, the rooms' imports and the unit tests: what to run while writing
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m 'not slow and not engines and not gpu' tests/unit $(ARGS)

test: $(VENV)/.dev-ready $(CLIENTS_VENV)/.ready ## Run the tests but the slow ones (choose by ARGS='-k batcher'), WORKERS=2 at a time
	$(PYTEST) -m 'not slow and not engines and not gpu' $(ARGS)

test-all: $(VENV)/.dev-ready $(CLIENTS_VENV)/.ready ## Run the slow tests too, as CI does
	$(PYTEST) -m 'not engines and not gpu' $(ARGS)

# schemathesis brings other versions of the test tools than ours: an environment of its own, no extra
FUZZ_VENV ?= .venv-fuzz

$(FUZZ_VENV)/.ready: Makefile | $(BIN)/python
	@echo "Installing schemathesis into $(FUZZ_VENV) (once)"
	@$(BIN)/python -m venv $(FUZZ_VENV)
	@$(FUZZ_VENV)/bin/python -m pip install --quiet 'schemathesis>=4.32,<5'
	@touch $@

fuzz: $(VENV)/.serve-ready $(FUZZ_VENV)/.ready ## Ask a service with a key whatever OpenAPI allows (ARGS='--seconds 60')
	$(BIN)/python -m scripts.fuzz $(FUZZ_VENV)/bin/schemathesis $(ARGS)

lint: $(VENV)/.dev-ready ## Check style, types, the rooms' imports and the generated docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m scripts.settings_docs --check
	$(BIN)/python -m scripts.surface_docs --check
	$(BIN)/python -m scripts.methods_docs --check
	$(BIN)/python -m scripts.errors_docs --check
	$(BIN)/python -m scripts.dependencies_docs
	$(BIN)/python -m scripts.page_types --check
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory lint-page; \
	elif [ -n "$$REQUIRE_PAGE_TOOLS" ]; then echo "Node 20 or newer is needed to check page/" >&2; exit 1; \
	else echo "NOT CHECKED: page/ against app/page/built, since there is no Node here" >&2; fi

lint-page: page/node_modules/.ready # called by `lint` where there is Node: types, and that the committed page is what is built
	cd page && npx --no-install tsc --noEmit && node build.mjs --check

format: $(VENV)/.dev-ready ## Format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.dev-ready ## Write what is made from code again: settings.md, surface.md, methods.md, errors.md, the page's types
	$(BIN)/python -m scripts.settings_docs
	$(BIN)/python -m scripts.surface_docs
	$(BIN)/python -m scripts.methods_docs
	$(BIN)/python -m scripts.errors_docs
	$(BIN)/python -m scripts.page_types

page/node_modules/.ready: page/package.json page/package-lock.json
	@echo "Installing what builds the page into page/node_modules (once)"
	@cd page && npm ci --ignore-scripts --silent
	@touch $@

page: $(VENV)/.dev-ready page/node_modules/.ready ## Build the web page into app/page/built (needs Node 20 or newer; nothing else does)
	$(BIN)/python -m scripts.page_types
	cd page && npx --no-install tsc --noEmit && node build.mjs

bench: $(VENV)/.dev-ready ## Measure the service on this machine (some minutes)
	$(BIN)/python -m benchmarks.service $(ARGS)

storm: $(VENV)/.dev-ready ## Let sixty random faults strike a working cluster, then count everything (some minutes; ARGS="--seed 7")
	$(BIN)/python -m tests.faults.storm $(ARGS)

kills: $(VENV)/.dev-ready ## Kill an engine, then a front end, every 5 s for two minutes under load, and say what clients saw
	$(BIN)/python -m tests.split --victim engine $(ARGS)
	$(BIN)/python -m tests.split --victim front-end $(ARGS)

upgrade: ## Choose the newest versions that fit and write constraints.txt
	PYTHON="$(PYTHON)" bash scripts/upgrade.sh

clean: ## Remove the virtual environment and every cache
	rm -rf $(VENV) $(FUZZ_VENV) $(CLIENTS_VENV) page/node_modules build dist *.egg-info client/build client/dist client/src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
