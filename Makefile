# Two commands: `make demo` shows the whole loop on this machine, `make test` proves it.
# Nothing is needed but Python 3.11+ and make; everything is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Test files that run at the same time; most of them wait for processes, and one thread each is enough for torch.
TESTERS ?= 3

# Tools for the lists of what is installed, apart from it: nothing of FLock imports them.
TOOLS := build/supply

.PHONY: demo test bench bench-fraud bench-learn screenshots tiny lint format lock hashes digests sbom clean install

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
	@$(MAKE) --no-print-directory hashes

$(TOOLS)/.ready: Makefile
	@$(PYTHON) -m venv $(TOOLS)
	@$(TOOLS)/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

# What each image installs, with the SHA-256 of every file of it: the lock's versions, and torch's own packages for CUDA.
# Nothing is downloaded but the index's pages.
hashes: $(TOOLS)/.ready
	@set -e; list() { image=$$1; shift; $(TOOLS)/bin/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-annotate --custom-compile-command "make hashes" -c requirements.lock -o requirements/$$image.txt \
		pyproject.toml requirements/build.in "$$@"; }; \
	list bot --extra s3 --extra kms-aws --extra kms-gcp --extra export; \
	list worker --extra train; \
	list chain requirements/chain.in; \
	list demo --extra demo

# The base images by digest, as their registry names them now; needs Docker.
digests:
	@set -e; for image in python:3.11-slim postgres:18; do \
		digest=$$(docker buildx imagetools inspect $$image --format '{{.Manifest.Digest}}'); \
		echo "$$digest" | grep -qE '^sha256:[0-9a-f]{64}$$' || { echo "No digest of $$image." >&2; exit 1; }; \
		sed -i -E "s|$$image(@sha256:[0-9a-f]{64})?|$$image@$$digest|" Dockerfile compose.yaml; \
		echo "$$image@$$digest"; \
	done

# A bill of materials of the set-up (CycloneDX, build/sbom.cdx.json), and the licences of what FLock brings along.
sbom: $(READY) $(TOOLS)/.ready
	@mkdir -p build
	@$(TOOLS)/bin/cyclonedx-py environment --output-reproducible --of JSON -o build/sbom.cdx.json \
		--pyproject pyproject.toml $(BIN)/python
	@$(BIN)/python -m tests.supply.licences > docs/licences.md.new && mv docs/licences.md.new docs/licences.md

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

