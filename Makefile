# Plain verbs; each makes the environment it needs, so that a fresh clone needs nothing first.
# ARGS is handed on: make test ARGS="-k window", make demo ARGS="--seconds 10", make lock ARGS=--upgrade.

PYTHON ?= python3
DEMO_SECONDS ?= 20
# The tests wait a third of their time, so four processes keep two cores busy. 0 runs them in one, as --pdb needs.
TEST_PROCESSES ?= 4
FUZZ_RUNS ?= 10000000
ARGS ?=
# What is pure, without what searches for long: simulations, the larger models, real processes.
QUICK := tests/core tests/metrics tests/logs tests/heartbeats tests/hints tests/ingest
QUICK += --ignore-glob='*/test_simulated*.py' --ignore-glob='*/test_real*.py' --ignore=tests/core/test_forgery.py --ignore=tests/core/test_machine.py
# What sends and receives, once more over the readable Python alone.
PURE := tests/core tests/endpoint tests/transport tests/lab tests/system

# Whatever lives in .venv is run as a module or by a relative path, so that the checkout's path may hold spaces.
RUN := .venv/bin/python -m
TYPED := src scripts $(wildcard tests/typing_api.py)
MAKEFLAGS += --no-print-directory
# Or each of the hundreds of processes that tests start would compile everything that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help env demo quick test test-pure test-all coverage lint format types soak fuzz bench lock clean

help: ## say what each verb does
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r verb text; do printf '  %-14s %s\n' "$$verb" "$$text"; done

env: ## make or mend .venv from requirements.lock (the other verbs do it too)
	@$(PYTHON) scripts/env.py

demo: env ## show the whole thing on this machine, and end with the account
	@.venv/bin/atmost demo --seconds $(DEMO_SECONDS) $(ARGS)

quick: env ## run the tests of the pure parts: the core, the uses, the parsers; under a minute
	@ATMOST_EXAMPLES=quick $(RUN) pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow" $(QUICK) $(ARGS)

test: env ## run the tests, but for those that take long
	@$(RUN) pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow" $(ARGS)

test-pure: env ## run what sends and receives once more, without the compiled half of the hot path
	@ATMOST_PURE=1 $(RUN) pytest -n $(TEST_PROCESSES) --dist loadfile -m "not slow" $(PURE) $(ARGS)

test-all: env ## run all tests: real servers, browsers, networks, every line, every seed; then test-pure
	@$(RUN) pytest -n $(TEST_PROCESSES) --dist loadfile $(ARGS)
	@$(MAKE) test-pure

coverage: env ## run the tests and say which lines and branches they never took
	@$(RUN) coverage erase
	@ATMOST_PURE=1 $(RUN) coverage run -m pytest $(ARGS)
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report

lint: env ## check style, formatting, and that imports go only downwards
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/python scripts/walks.py --tree

format: env ## mend what the linter can mend, and format
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

types: env ## check the types
	@$(RUN) mypy --strict $(TYPED)

soak: env ## run a collector under mixed load with kills and restarts for ten minutes; fails when an account or a resource is not right
	@.venv/bin/python scripts/soak.py $(ARGS)

fuzz: env ## fuzz the parsers and draw many more examples of every property, as long as a night (FUZZ_RUNS executions of each parser)
	@for parser in statsd syslog gelf; do $(RUN) tests.ingest.fuzz $$parser --runs $(FUZZ_RUNS) || exit 1; done
	@ATMOST_EXAMPLES=night $(RUN) pytest -m hypothesis $(QUICK) $(ARGS)

bench: env ## measure this machine, beside the peers that are installed
	@$(RUN) atmost bench $(ARGS)

lock: ## resolve the dependencies anew and write requirements.lock
	@$(PYTHON) scripts/env.py lock $(ARGS)

clean: ## remove the environment and everything that was built, measured or cached
	@rm -rf .venv build dist htmlcov .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find src tests scripts benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
