# What developers and CI run. ARGS is passed on: `make test ARGS="-k outbox -x"`.
# Written for GNU make 3.81 (macOS) and later. Every path in here is relative, so any folder will do.

VENV := .venv
BIN := $(VENV)/bin
# Containers often set it. Without bytecode each of the many processes that tests start compiles every module it imports.
unexport PYTHONDONTWRITEBYTECODE
STAMP := $(VENV)/.installed
# A kustomization is not a Kubernetes object; a test builds it.
MANIFESTS = $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/base/*.yaml deploy/kubernetes/overlays/*/*.yaml))
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help install run dist check test test-unit test-lowest test-kafka test-browser screenshots test-clients lint-documents promtool lint lint-code lint-deployment audit format lock openapi api-baseline bench simulate faults clean FORCE

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
		printf '  make %-14s %s\n' "$$target" "$$text"; done

install: $(STAMP) ## Install everything into .venv, and start nothing (PYTHON=... picks the interpreter)
	@:

$(STAMP): pyproject.toml requirements/install requirements/build.txt requirements/dev.txt
	@PYTHON='$(PYTHON)' requirements/install

# A virtual environment contains absolute paths: one that was moved or copied here is created again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
$(STAMP): FORCE
endif

run: install ## Start the service with its own PostgreSQL and broker, until Ctrl-C (BROKER=apache: Apache Kafka; needs java and mvn)
ifeq ($(BROKER),apache)
	@$(BIN)/python -m tests.support.apache_kafka run .allocation/kafka $(BIN)/allocation dev --broker '{bootstrap_servers}' $(ARGS)
else
	@$(BIN)/allocation dev $(ARGS)
endif

dist: install ## Build the source distribution and the wheel into dist/
	@$(BIN)/python -m hatchling build

# Tests of one file run in one process, because they share fixtures. Files start in the order of tests/conftest.py.
# Three processes use two cores, because tests also wait. ARGS="-n 0" runs all in one process.
PROCESSES := 3
WORKERS = -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

test: install ## Run all tests except those of browsers and generated clients
	@$(BIN)/python -m pytest $(WORKERS) --ignore=tests/browser --ignore=tests/clients $(ARGS)

# The tests that depend most on versions: connections, bodies, problems, documents, transactions.
LOWEST_HTTP := $(addprefix tests/http/test_,connections.py limits.py pipelining.py request_bodies.py problems.py openapi_document.py \
	orders.py bulk.py idempotency_keys.py lists.py operations.py wire.py)

# Warnings are errors with the locked versions only: old versions may warn of later changes.
test-lowest: install ## Run unit and HTTP tests with the lowest versions that pyproject.toml declares, in .venv-lowest
	@requirements/install-lowest
	@.venv-lowest/bin/python -m pytest $(WORKERS) -p no:cacheprovider -W default tests/package/test_private_names.py tests/unit \
		$(addprefix --ignore=tests/unit/test_,fault_actors.py product_properties.py hold_expiry_properties.py simulation.py) \
		$(addprefix tests/e2e/test_,command_line.py command_mistakes.py process_start.py) tests/deploy/test_documents.py $(LOWEST_HTTP) $(ARGS)

test-kafka: install ## Run the broker-facing tests against Apache Kafka (needs java and mvn)
	@$(BIN)/python -m tests.support.apache_kafka fetch
	@$(BIN)/python -m pytest -m kafka --broker=apache $(ARGS)

test-browser: install ## Run the tests of pages in Chromium (root installs it with apt-get)
	@$(BIN)/python -m tests.support.chromium
	@$(BIN)/python -m pytest -m browser $(ARGS)

screenshots: install ## Write the pictures of docs/board.md, from pages in Chromium
	@$(BIN)/python -m tests.support.chromium
	@$(BIN)/python -m pytest -q tests/browser/test_board_pages.py --screenshots $(ARGS)

test-clients: install ## Generate clients in Java, Go, TypeScript and Python, and run the README's session with each
	@$(BIN)/python -m pytest -m clients $(ARGS)

lint-documents: install ## Lint docs/openapi.json and docs/asyncapi.json with Redocly CLI (needs node and npm)
	@$(BIN)/python -m tests.support.lint_documents

promtool: install ## Download promtool with apt, without installing it, for the test of the alert rules
	@$(BIN)/python -m tests.support.promtool

# What a change is checked with while it is written: no server, no network. Both halves run at the same time.
check: install ## Lint the code and run the unit tests, in under a minute
	@$(MAKE) --no-print-directory -j 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync) lint-code test-unit

test-unit: install ## Run the unit tests
	@$(BIN)/python -m pytest -q -n 2 tests/unit $(ARGS)

lint: lint-code lint-deployment audit ## Check style, types, layers, language and the deployment files

lint-code: install ## Check style, types, layers and language
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@$(BIN)/python -m tests.support.plain_english
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

lint-deployment: install ## Check the Dockerfile, the Compose file and the Kubernetes manifests
	$(BIN)/hadolint Dockerfile
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	$(BIN)/kubernetes-validate --strict --no-warn --quiet $(MANIFESTS)

audit: install ## Check the locked packages for known vulnerabilities, and list those that could not be checked
	@$(BIN)/python requirements/audit.py $(ARGS)

format: install ## Format the code and fix what ruff can fix
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

lock: install ## Lock the requirements (ARGS=--upgrade for newer versions)
	$(LOCK) --group build --output-file requirements/build.txt
	$(LOCK) pyproject.toml --output-file requirements/runtime.txt
	$(LOCK) pyproject.toml --extra embedded --group dev --output-file requirements/dev.txt \
		--constraint requirements/build.txt --constraint requirements/runtime.txt
	$(LOCK) pyproject.toml --extra embedded --resolution lowest-direct --output-file requirements/lowest.txt

openapi: install ## Write docs/openapi.json, docs/asyncapi.json and docs/problems.md
	@$(BIN)/python -m app.entrypoints.http.problem_pages > docs/problems.md.new && mv docs/problems.md.new docs/problems.md || \
		{ rm -f docs/problems.md.new; exit 1; }
	@for document in openapi asyncapi; do \
		$(BIN)/allocation $$document > docs/$$document.json.new && mv docs/$$document.json.new docs/$$document.json || \
			{ rm -f docs/$$document.json.new; exit 1; }; done

api-baseline: openapi ## Make today's documents the baseline that later changes must stay compatible with
	cp docs/openapi.json docs/asyncapi.json tests/api_baseline/

bench: install ## Run the benchmarks
	@$(BIN)/python -m bench $(ARGS)

simulate: install ## Simulate larger installations with measured costs: two minutes of processor time (ARGS=--check-only: one second)
	@$(BIN)/python -m bench.simulation $(ARGS)

faults: install ## Inject faults into the running service and check that nothing is lost (ARGS=...; FAULT=name; TARGET=url: only check)
	@$(if $(TARGET),,$(BIN)/python -m tests.support.apache_kafka fetch)
	@$(BIN)/python -m faults $(if $(FAULT),--fault $(FAULT)) $(if $(TARGET),--target '$(TARGET)') $(ARGS)

clean: ## Remove .venv and all caches; keeps the database in .allocation
	rm -rf $(VENV) .venv-lowest build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .schemathesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
