# What a newcomer needs is `make run` and `make test`; both set up .venv by themselves,
# on a machine that has only python3 (>= 3.11, with its venv module) and make.

PYTHON ?= python3
PIP := .venv/bin/python -m pip --disable-pip-version-check --no-input
# More arguments for pytest, for instance ARGS="tests/models -n 0" (-n 0: in one process).
ARGS ?=

.PHONY: run test quick test-full studies bench bench-large fuzz pages docs lint lock clean

run: .venv/.installed
	@.venv/bin/pinlab compare

test: .venv/.installed
	@.venv/bin/python -m pytest -n auto --dist loadfile $(ARGS)

# What to run while something changes: under a minute of the engine, the hypervisor, the two crash
# logs and the walls.
QUICK := tests/models/machine tests/models/xen tests/sim/test_effects.py tests/sim/test_timed.py \
	tests/sim/test_locks.py tests/sim/test_interrupts.py tests/golden/test_crash_2011.py \
	tests/golden/test_revert_log.py tests/experiments/test_tables.py \
	tests/experiments/test_replications.py tests/test_tidy.py tests/test_walls.py
quick: .venv/.installed
	@.venv/bin/python -m pytest -n auto --dist loadfile $(QUICK) $(ARGS)

# All tests: also those that take minutes, and those that need more than Python. On Debian what
# is missing is installed first (by root, or with sudo).
PROGRAMS_OF_TESTS := spin gcc
PACKAGES_OF_TESTS := spin gcc libc6-dev
test-full: .venv/.installed
	@for program in $(PROGRAMS_OF_TESTS); do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || { \
		command -v apt-get >/dev/null || { echo "make: test-full needs$$missing, and there is no apt-get to install it" >&2; exit 1; }; \
		[ "$$(id -u)" = 0 ] || as_root=sudo; \
		echo "Installing $(PACKAGES_OF_TESTS) ..." >&2; \
		$$as_root apt-get update -qq && $$as_root apt-get install --yes -qq $(PACKAGES_OF_TESTS) >/dev/null; }
	@.venv/bin/python -m pytest -n auto --dist loadfile -m "not benchmark" $(ARGS)

# The studies of docs/concepts/studies.md, into ./studies: some minutes, and seconds when nothing has changed.
JOBS ?= 2
STUDIES := verdict_map cost_of_a_fix what_the_thread_could_have_known batching parallel_boot where_races_live
studies: .venv/.installed
	@for study in $(STUDIES); do \
		echo "== $$study"; \
		.venv/bin/python -m experiments.studies.$$study --out studies/$$study --jobs $(JOBS) || exit; \
	done

# Ratios measured within one run; never part of the normal tests. ONLY="boots odds" takes some
# of them, BEFORE=REVISION sets them beside another commit.
ONLY ?=
BEFORE ?=
bench: .venv/.installed
	@BEFORE='$(BEFORE)' .venv/bin/python -m tests.benchmarks $(ONLY)

# Boots of up to 1 TiB: minutes each, and 3 GiB of memory.
bench-large: .venv/.installed
	@.venv/bin/python -m tests.benchmarks.large

# Random programs against the hypervisor: so many of them, or so many minutes.
PROGRAMS ?= 20000
MINUTES ?= 60
fuzz: .venv/.installed
	@.venv/bin/python -m tests.fuzz $(PROGRAMS) $(MINUTES)

# The pages of docs/reference and the figures that are made from the code.
pages: .venv/.installed
	@.venv/bin/python -m tests.pages

# The docs as HTML in build/docs; a warning is an error. Sphinx has an environment of its own.
docs: .venv-docs/.installed
	@.venv-docs/bin/python -m sphinx -q -W --keep-going --fresh-env -b html docs build/docs
	@echo "build/docs/index.html"

lint: .venv/.installed
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

# Each stamp is touched last, so an interrupted set-up is taken up again and never counts as
# complete. Two stamps: a change of pyproject.toml alone costs seconds, not a new environment.
.venv/.locked: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: PinLab needs Python 3.11 or newer as $(PYTHON) (another one: make PYTHON=python3.12)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) has no venv module; install it (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	@echo "Setting up .venv (once, about a minute) ..." >&2
	@$(PYTHON) -m venv --clear .venv
	@$(PIP) install --quiet --require-hashes --requirement requirements.txt
	@touch $@

.venv/.installed: .venv/.locked pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@$(PIP) check --quiet || { echo "make: requirements.txt no longer satisfies pyproject.toml; run \`make lock\`" >&2; exit 1; }
	@touch $@

.venv-docs/.installed: docs/requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "make: PinLab needs Python 3.11 or newer as $(PYTHON) (another one: make PYTHON=python3.12)" >&2; exit 1; }
	@echo "Setting up .venv-docs (once, half a minute) ..." >&2
	@$(PYTHON) -m venv --clear .venv-docs
	@.venv-docs/bin/python -m pip --disable-pip-version-check --no-input install --quiet \
		--require-hashes --requirement docs/requirements.txt
	@touch $@

# Resolve requirements.txt anew from pyproject.toml, and that of the docs from requirements.in
# beside it, for every Python from 3.11 on. Pins that still fit stay as they are;
# `make lock UPGRADE=--upgrade` takes the newest.
lock:
	@tools=$$(mktemp -d) && trap 'rm -rf "$$tools"' EXIT && \
	$(PYTHON) -m venv "$$tools" && \
	"$$tools/bin/python" -m pip --disable-pip-version-check install --quiet uv && \
	printf '%s\n' hatchling editables | "$$tools/bin/uv" pip compile --quiet --universal \
		--python-version 3.11 --extra test --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" $(UPGRADE) --output-file requirements.txt pyproject.toml - && \
	"$$tools/bin/uv" pip compile --quiet --universal \
		--python-version 3.11 --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" $(UPGRADE) \
		--output-file docs/requirements.txt docs/requirements.in

clean:
	rm -rf .venv .venv-docs .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks .import_linter_cache build dist
	find sim models experiments tests -name __pycache__ -type d -prune -exec rm -rf {} +
