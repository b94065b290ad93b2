# Two commands: `make demo` shows the whole loop on this machine, `make test` proves it.
# Nothing is needed but Python 3.11+ and make; everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Test files that run at the same time; most of them wait for processes, and one thread each is enough for torch.
TESTERS ?= 3

.PHONY: demo test bench bench-fraud bench-learn screenshots tiny lint format lock clean install

# Ctrl-C, which ends the demo with 130, is no error here.
demo: $(READY)
	@trap : INT; $(BIN)/flock demo $(ARGS) || { code=$$?; test $$code -eq 130 || exit $$code; }

test: lint
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(TESTERS) --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(READY)
	@$(BIN)/python -m tests.benchmarks $(ARGS)

# The release gate in simulated communities: false releases, voters needed, the price of a release. ARGS=--small is quick.
bench-fraud: $(READY)
	@$(BIN)/python -m tests.benchmarks.fraud $(ARGS)

# Hidden tastes of scripted communities, learned from their votes: 90 minutes on two idle cores; ARGS=--small takes two.
bench-learn: $(READY)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.learn $(ARGS)

# The pictures in docs/img; needs Chromium and a font with emoji. ARGS=still or ARGS=moving takes one kind alone.
screenshots: $(READY)
	@$(BIN)/python -m tests.acceptance.screenshots $(ARGS)

# The tiny model, trained from nothing: 75 minutes on two idle cores. Then its sheet. ARGS="--rounds 4" trains on.
tiny: $(READY)
	@nice -n 10 $(BIN)/python -m generation.tiny train $(ARGS)
	@$(BIN)/python -m generation.tiny sheet docs/img/tiny.png

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

install: $(READY)

# torch comes first and alone: any other package that asks for it must find it there already.
$(READY): pyproject.toml requirements.lock
	@mkdir -p $(VENV) && date +%s > $(VENV)/.began
	@echo "Setting up $(VENV); this takes two or three minutes, once." >&2
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit("FLock needs Python 3.11 or newer.") if sys.version_info < (3, 11) else None'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^torch==' requirements.lock)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.lock -e '.[dev]' >&2
	@echo "The set-up took $$(( $$(date +%s) - $$(cat $(VENV)/.began) )) s." >&2
	@touch $@

# Exact versions of what is installed now, after the ranges in pyproject.toml were changed and installed.
lock: $(READY)
	@{ head -1 requirements.lock; $(BIN)/python -m pip list --format=freeze --exclude-editable \
		| grep -viE '^(flock|pip|setuptools|wheel)==' | sed 's/+cpu$$//' | sort -f; } > requirements.lock.new
	@mv requirements.lock.new requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

