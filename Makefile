# The two commands: `make demo` and `make test`. `make help` lists the rest.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
# What is installed runs under a user of its own, who may not read the Python of anybody's home.
SYSTEM_PYTHON ?= /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=
SOAK_SECONDS ?= 600
# Empty: one by chance, which is printed.
SOAK_SEED ?=
BUILDER := .build/builder
WHEELS := .build/wheels
# The lab builds namespaces and mounts; what it compiles as root must not stay behind in the checkout.
AS_ROOT := $(shell [ "$$(id -u)" -eq 0 ] || echo sudo env PYTHONDONTWRITEBYTECODE=1)

.DEFAULT_GOAL := help
.PHONY: help venv packages test check bench bench-replay soak picture demo lab-up lab-down wheels install uninstall deb clean

help: ## This list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(READY) ## A real cluster of three libvirt hosts on this machine, scheduled before your eyes. Takes itself down.
	@scripts/packages lab
	@$(if $(AS_ROOT),echo "The lab needs root: going on through sudo.",:)
	@$(AS_ROOT) $(VENV)/bin/python -m scheduler.lab.demo

test: $(READY) $(WHEELS)/.ready ## All tests; without root all but those on the lab.
	@$(if $(AS_ROOT),scripts/packages test || true,scripts/packages lab test)
	@$(VENV)/bin/pytest -m 'not lab' --numprocesses 2
	@$(if $(AS_ROOT),,$(VENV)/bin/pytest -m 'lab and not alone' --numprocesses 2 --dist worksteal)
	@$(if $(AS_ROOT),,$(VENV)/bin/pytest -m 'lab and alone')

check: $(READY) ## Style, types and the laws of the house.
	@$(VENV)/bin/ruff check
	@$(VENV)/bin/ruff format --check
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

bench: $(READY) ## How fast decisions are.
	@$(VENV)/bin/pip install --quiet --group bench
	@$(VENV)/bin/pytest tests/bench --override-ini=python_files='bench_*.py test_*.py' -s

soak: $(READY) ## Migrations on a lab of its own while everything fails, SOAK_SECONDS=600 long; SOAK_SEED=n repeats one.
	@scripts/packages build lab
	@$(AS_ROOT) $(VENV)/bin/python -m tests.soak --seconds $(SOAK_SECONDS) $(if $(SOAK_SEED),--seed $(SOAK_SEED))

bench-replay: $(READY) ## What it makes of load over hours, beside what others do. Takes five minutes.
	@$(VENV)/bin/python -m tests.bench.bench_replay

lab-up: $(READY) ## The lab's cluster, to try things on; prints the path of its config.
	@scripts/packages lab
	@$(AS_ROOT) $(VENV)/bin/virt-scheduler lab up

lab-down: $(READY) ## Takes it down.
	@$(AS_ROOT) $(VENV)/bin/virt-scheduler lab down

wheels: $(WHEELS)/.ready ## Only all that will be installed, as wheels: the one step that needs the network.

install: $(WHEELS)/.ready ## Venv, unit, user, config, manual, completions below DESTDIR and PREFIX (/usr/local).
	@DESTDIR='$(DESTDIR)' scripts/install $(PREFIX) $(BUILDER) $(WHEELS)

uninstall: ## Takes them away again; state, user and a config that was edited stay.
	@DESTDIR='$(DESTDIR)' scripts/install $(PREFIX) --remove

deb: $(WHEELS)/.ready ## A Debian package of it in .build/deb.
	@scripts/deb $(BUILDER) $(WHEELS) .build/deb

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

$(WHEELS)/.dependencies: pyproject.toml setup.py
	@scripts/packages build
	@echo "Building wheels in $(WHEELS)"
	@rm -rf $(BUILDER) $(WHEELS)
	@$(SYSTEM_PYTHON) -m venv $(BUILDER)
	@$(BUILDER)/bin/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' > $(BUILDER)/requires
	@$(BUILDER)/bin/pip wheel --quiet --wheel-dir $(WHEELS) --requirement $(BUILDER)/requires .
	@touch $@

$(WHEELS)/.ready: $(WHEELS)/.dependencies $(shell find scheduler -name '*.py*')
	@rm -rf build $(WHEELS)/virt_scheduler-*.whl
	@$(BUILDER)/bin/pip wheel --quiet --no-index --find-links $(WHEELS) --no-deps --wheel-dir $(WHEELS) .
	@touch $@
