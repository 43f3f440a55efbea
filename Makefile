# The two commands: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# The lab builds namespaces and mounts; what it compiles as root must not stay behind in the checkout.
AS_ROOT := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo env PYTHONDONTWRITEBYTECODE=1)

.DEFAULT_GOAL := help
.PHONY: help venv packages test check bench demo lab-up lab-down clean

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## A real cluster of three libvirt hosts on this machine, scheduled before your eyes. Takes itself down.
	@scripts/packages lab
	@$(if $(AS_ROOT),echo "The lab needs root: going on through sudo.",:)
	@$(AS_ROOT) $(VENV)/bin/python -m scheduler.lab.demo

test: $(READY) ## All tests; without root all but those on the lab.
	@$(if $(AS_ROOT),scripts/packages test || true,scripts/packages lab test)
	@$(VENV)/bin/pytest

check: $(READY) ## Style, types and the laws of the house.
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(READY) ## How fast decisions are.
	@$(VENV)/bin/pip install --quiet --group bench
	@$(VENV)/bin/pytest tests/bench --override-ini=python_files='bench_*.py test_*.py' -s

lab-up: $(READY) ## The lab's cluster, to try things on; prints the path of its config.
	@scripts/packages lab
	@$(AS_ROOT) $(VENV)/bin/virt-scheduler lab up

lab-down: $(READY) ## Takes it down.
	@$(AS_ROOT) $(VENV)/bin/virt-scheduler lab down

venv: $(READY) ## Only the virtual environment .venv, with the command in it.

packages: ## Only the Debian packages.
	@scripts/packages build lab test

clean: ## Removes what make built here. Debian packages stay.
	rm -rf $(VENV) .build build *.egg-info scheduler/planner/kernel.c scheduler/planner/kernel.*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml setup.py scheduler/planner/kernel.pyx
	@scripts/packages build
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=/usr/bin/python3.11" >&2; exit 1; }
	@echo "Building $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --upgrade 'pip>=25.1'
	@$(VENV)/bin/pip install --quiet --editable . --group test --group check
	@touch $@
