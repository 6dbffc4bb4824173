# Every target makes what it needs: scripts/bootstrap creates .venv with the locked dependencies, once.
# Pass options on with ARGS, as in: make demo ARGS=--json

.DEFAULT_GOAL := help
.PHONY: help env demo test test-unit test-integration test-browser test-chaos test-python-3.13 soak mutants check docs bench screenshots clean
ARGS ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: ## create or update .venv (the other targets do it by themselves)
	@scripts/bootstrap

demo: env ## start server and services, send real work, show what came of it (ARGS=--json: one object, last line)
	@.venv/bin/headway demo $(ARGS)

test: env ## all tests: unit, integration, browser, chaos (ARGS go to pytest)
	@scripts/test $(ARGS)

test-unit: env ## tests without a server
	@scripts/test unit $(ARGS)

test-integration: env ## tests on a real, private nats-server
	@scripts/test integration $(ARGS)

test-browser: env ## tests of the pages in a real chromium
	@scripts/test browser $(ARGS)

test-chaos: env ## tests that kill workers and servers
	@scripts/test chaos $(ARGS)

test-python-3.13: env ## the unit and bus tests on Python 3.13, in a Debian 13 of its own (needs root and debootstrap)
	@scripts/test-python-3.13 $(ARGS)

soak: env ## half an hour of everything at once: nothing is lost, nothing grows (ARGS="--seconds 120")
	@.venv/bin/python -m tests.soak $(ARGS)

mutants: env ## change the pure modules, count what their tests notice (ARGS="bus/retry.py" or "--changed-from main")
	@.venv/bin/python scripts/mutants.py $(ARGS)

check: env docs ## ruff, mypy --strict, import-linter, the documentation site
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

docs: env ## build the documentation site into site/; a broken link fails
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet

bench: env ## compare with peers (ARGS="jobs" or ARGS="rpc --json")
	@.venv/bin/python -m bench $(ARGS)

screenshots: env ## take the pictures of README and docs from the running system
	@.venv/bin/python scripts/screenshots.py

clean: ## remove .venv, tools and caches; data in .headway/ stays
	rm -rf clientsync/browser/dist clientsync/browser/build clientsync/browser/node_modules
	rm -rf site .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
