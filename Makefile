# `make` alone lists the targets. Each environment is made once and then reused; it is updated only if a pyproject.toml
# or a pinned version changes. The packages are installed editable, so source changes need no reinstall.

PYTHON     ?= python3
VENV       ?= .venv
VENV_DEMO  ?= .venv-demo
VENV_PEERS ?= .venv-peers
VENV_WEB   ?= .venv-web
VENV_RAY   ?= .venv-ray
VENV_RELEASE ?= .venv-release
PORT       ?=
CHECK      ?=
PHONE      ?=
HOST       ?=

# The extent of each part of `make soak`; 0 skips the part.
KILLS    ?= 100
MINUTES  ?= 30
BODIES   ?= 10000
EXAMPLES ?= 50
SEEDS    ?= 5
SEED     ?= 1

PIP      := -m pip --disable-pip-version-check --quiet --no-input
PINNED   := --constraint requirements/constraints.txt
CHROMIUM := $(firstword $(shell command -v chromium chromium-browser google-chrome 2>/dev/null))
DRIVER   := $(shell command -v chromedriver 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast test-browser test-image test-slow web lint format unasync openapi commands settings release licences soak bench-serving bench-index bench-ingest bench-phone bench-peers bench-indexing bench-training clean python-is-new-enough

help: ## list the targets
	@echo "Askew: visual search against a gallery that is never re-indexed."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | awk -F'\t' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo
	@echo "  PYTHON=python3.12 chooses the interpreter (3.11 or newer), PORT=8001 another port for the demo."

demo: $(VENV_DEMO)/.installed $(if $(filter-out 0,$(PHONE)),$(VENV_DEMO)/.phone) ## index the demo gallery, serve it, search it with a student (CHECK=1: check, then stop; PHONE=1: for phones)
	@PORT='$(PORT)' CHECK='$(CHECK)' PHONE='$(PHONE)' HOST='$(HOST)' $(VENV_DEMO)/bin/python demo/run.py

test: lint $(VENV_DEMO)/.phone $(VENV_WEB)/.installed ## lint, types and all tests
	$(VENV)/bin/python tests/suites.py
ifneq ($(and $(CHROMIUM),$(DRIVER)),)
	@$(MAKE) --no-print-directory test-browser
else
	@echo "!! The browser tests did NOT run: they need chromium and chromedriver (Debian: chromium, chromium-driver)." >&2
endif

test-fast: $(VENV)/.installed ## the fast tests, within 90 seconds
	$(VENV)/bin/python tests/suites.py --fast

test-browser: $(VENV)/.installed ## test the web app in a headless Chromium
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m browser tests/browser --numprocesses 2 --dist loadfile --durations=10 --durations-min=3

test-image: $(VENV)/.installed $(VENV_DEMO)/.phone ## test the image's entry point, with only the image's packages
	$(VENV)/bin/python -m pytest -m "not drill" tests/deploy

test-slow: $(VENV)/.installed $(VENV_DEMO)/.phone ## the drills, which take minutes each: assemble and start the images, and others
	OMP_NUM_THREADS=1 $(VENV)/bin/python -m pytest -m drill tests --durations=0 --durations-min=1

lint: $(VENV)/.installed ## ruff, mypy --strict, import rules, generated files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/python client/generate_sync.py --check
	$(VENV)/bin/lint-imports --no-cache --no-logo
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy demo/run.py demo/leash.py deploy/entrypoint.py deploy/authority.py deploy/health.py deploy/ray_index.py $(wildcard release/*.py) client/generate_sync.py client/web/build.py

web: $(VENV_WEB)/.installed ## rebuild the web app that the server ships (needs the npm registry)
	$(VENV_WEB)/bin/python client/web/build.py

format: $(VENV)/.installed ## format the sources with ruff
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

unasync: $(VENV)/.installed ## generate the synchronous client, after a change in client/askew_client/_async
	$(VENV)/bin/python client/generate_sync.py

openapi: $(VENV)/.installed ## rewrite docs/openapi.json, after an intended change of the API
	$(VENV)/bin/python -m askew_server.http.openapi_document > docs/openapi.json.part
	mv docs/openapi.json.part docs/openapi.json

commands: $(VENV)/.installed ## rewrite docs/commands.md, after a change of a command
	$(VENV)/bin/python -m tests.docs.command_reference > docs/commands.md.part
	mv docs/commands.md.part docs/commands.md

settings: $(VENV)/.installed ## rewrite the table of settings in docs/server.md, after a change of a setting
	$(VENV)/bin/python -m tests.docs.settings_table

# .venv-demo has what the server's image has, and what the demo for phones adds, so it is not taken here.
release: $(VENV_RELEASE)/.installed $(VENV_RELEASE)/image/.installed ## build wheels, SBOM, licences and checksums into dist/
	$(VENV_RELEASE)/bin/python release/build_release.py --environment $(VENV_RELEASE)/image

licences: $(VENV_RELEASE)/.installed $(VENV_RELEASE)/image/.installed ## rewrite docs/licences.md, after a change of the image's packages
	$(VENV_RELEASE)/bin/python release/licences.py --environment $(VENV_RELEASE)/image > docs/licences.md.part
	mv docs/licences.md.part docs/licences.md

soak: $(VENV)/.soak ## kills, overload, faults, schemathesis, hostile bodies; hours (docs/reliability.md)
	$(VENV)/bin/python tests/soak/soak.py --kills $(KILLS) --minutes $(MINUTES) --bodies $(BODIES) \
		--examples $(EXAMPLES) --seeds $(SEEDS) --seed $(SEED)

bench-serving: $(VENV)/.installed ## POST /search, compared with bare calls of the same index, 100,000 and 10,000 x 2048
	$(VENV)/bin/python benchmarks/serving.py

bench-index: $(VENV)/.installed ## the index alone: recall, times, bytes, filters, 100,000 x 2048
	$(VENV)/bin/python benchmarks/index.py

bench-ingest: $(VENV)/.installed ## filling a gallery over HTTP, compared with bare SQLite and FAISS, and searches during it
	$(VENV)/bin/python benchmarks/ingest.py

bench-phone: $(VENV)/.installed ## measure the web app in a headless Chromium: starts, descriptions, searches
	$(VENV)/bin/python benchmarks/phone.py

bench-peers: $(VENV)/.installed $(VENV_PEERS)/.installed ## Askew, compared with vector stores from PyPI on the same vectors
	$(VENV)/bin/python benchmarks/peers.py --peers-python $(VENV_PEERS)/bin/python

bench-training: $(VENV)/.installed ## askew train, compared with a bare pass and the published schemes; mining with FAISS
	$(VENV)/bin/python benchmarks/training.py
	$(VENV)/bin/python benchmarks/training_schemes.py
	$(VENV)/bin/python benchmarks/mining.py

bench-indexing: $(VENV)/.installed ## askew index, compared with a bare ONNX Runtime loop
	$(VENV)/bin/python benchmarks/indexing.py

clean: ## remove the environments, caches and the demo's data
	rm -rf $(VENV) $(VENV_DEMO) $(VENV_PEERS) $(VENV_RAY) $(VENV_RELEASE) demo/data .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find client server training tests demo deploy benchmarks -name __pycache__ -prune -exec rm -rf {} +

python-is-new-enough:
	@command -v $(PYTHON) >/dev/null || { echo "The command $(PYTHON) was not found. Name a Python 3.11 or newer: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Askew needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=..." >&2; exit 1; }

# No torch here: the demo runs on the same packages as the server image.
$(VENV_DEMO)/.installed: client/pyproject.toml server/pyproject.toml requirements/constraints.txt | python-is-new-enough
	@echo "Making $(VENV_DEMO), the environment of the demo (once) ..."
	@test -x $(VENV_DEMO)/bin/python || $(PYTHON) -m venv $(VENV_DEMO)
	@$(VENV_DEMO)/bin/python $(PIP) install $(PINNED) --editable './client[cpu,cli]' --editable './server[cpu,tracing]'
	@touch $@

$(VENV_DEMO)/.phone: $(VENV_DEMO)/.installed requirements/phone.txt
	@$(VENV_DEMO)/bin/python $(PIP) install $(PINNED) --requirement requirements/phone.txt
	@touch $@

$(VENV)/.installed: client/pyproject.toml server/pyproject.toml training/pyproject.toml requirements/constraints.txt requirements/test.txt requirements/phone.txt | python-is-new-enough
	@echo "Making $(VENV), the environment for everything, torch included (once) ..."
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python $(PIP) install $(PINNED) --editable './client[cpu,cli,heif]' --editable './server[cpu,milvus,parquet,tracing]' \
		--editable './training[demo,cpu]' --requirement requirements/test.txt
	@touch $@

$(VENV_WEB)/.installed: requirements/web.txt | python-is-new-enough
	@echo "Making $(VENV_WEB), with node to build the web app (once) ..."
	@test -x $(VENV_WEB)/bin/python || $(PYTHON) -m venv $(VENV_WEB)
	@$(VENV_WEB)/bin/python $(PIP) install --requirement $<
	@touch $@

$(VENV)/.soak: $(VENV)/.installed requirements/soak.txt
	@$(VENV)/bin/python $(PIP) install $(PINNED) --requirement requirements/soak.txt
	@touch $@

# The peers have separate pins: their requirements conflict with the versions that Askew is tested with.
$(VENV_PEERS)/.installed: requirements/peers.txt | python-is-new-enough
	@echo "Making $(VENV_PEERS), the environment of the stores that Askew is compared with (once) ..."
	@test -x $(VENV_PEERS)/bin/python || $(PYTHON) -m venv $(VENV_PEERS)
	@$(VENV_PEERS)/bin/python $(PIP) install --requirement $<
	@touch $@

# For the drill of deploy/ray_index.py: Ray is large, and only there is it needed.
$(VENV_RAY)/.installed: client/pyproject.toml server/pyproject.toml requirements/constraints.txt requirements/ray.txt | python-is-new-enough
	@echo "Making $(VENV_RAY), the environment with Ray (once) ..."
	@test -x $(VENV_RAY)/bin/python || $(PYTHON) -m venv $(VENV_RAY)
	@$(VENV_RAY)/bin/python $(PIP) install $(PINNED) --editable './client[cpu,cli]' --editable './server[cpu,parquet]' \
		--requirement requirements/ray.txt
	@touch $@

$(VENV_RELEASE)/.installed: requirements/release.txt | python-is-new-enough
	@echo "Making $(VENV_RELEASE), the tools of a release (once) ..."
	@test -x $(VENV_RELEASE)/bin/python || $(PYTHON) -m venv $(VENV_RELEASE)
	@$(VENV_RELEASE)/bin/python $(PIP) install --requirement $<
	@touch $@

# Just what the server's image installs, without pip: what is described is what is shipped.
$(VENV_RELEASE)/image/.installed: client/pyproject.toml server/pyproject.toml requirements/constraints.txt | $(VENV_RELEASE)/.installed
	@rm -rf $(VENV_RELEASE)/image
	@$(PYTHON) -m venv --without-pip $(VENV_RELEASE)/image
	@$(VENV_RELEASE)/bin/python -m pip --python $(VENV_RELEASE)/image/bin/python --disable-pip-version-check --quiet --no-input install \
		$(PINNED) './client[cli]' './server[cpu,tracing]'
	@touch $@
