# Everything a developer or a first visitor runs. `make help` lists it.
# Needs python3 (3.11 or newer) and make; the rest goes into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-quick check format docs site sbom audit wheel airflow clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.run ## run the whole way on sample studies (DICOM=folder: on your own files)
	@$(BIN)/intu-fhir demo $(if $(DICOM),"$(DICOM)")
	@echo "  (here intu-fhir is $(BIN)/intu-fhir)"

test: $(VENV)/.dev ## run the tests, two processes at once (ARGS="-k name": some of them, in one)
	@$(BIN)/$(if $(ARGS),pytest $(ARGS),python -m tools.lanes)

test-quick: $(VENV)/.dev ## run the tests that take no long time
	@$(BIN)/pytest -m "not slow" $(ARGS)

check: $(VENV)/.dev ## run the type checker, the linter and the import contracts
	@$(BIN)/mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

format: $(VENV)/.dev ## lay out the code
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format .

docs: $(VENV)/.dev ## write the reference pages anew from the code
	@$(BIN)/python -m tools.docs

site: $(VENV)/.dev ## build the site of the documentation into build-output/site/
	@$(BIN)/python -m tools.docs.site
	@$(BIN)/python -m mkdocs build --strict --quiet
	@echo "Open build-output/site/index.html"

sbom: $(VENV)/.dev ## write the bill of materials (CycloneDX) to build-output/sbom.json
	@mkdir -p build-output
	@$(BIN)/python -m tools.sbom build-output/sbom.json
	@echo "build-output/sbom.json"

audit: $(VENV)/bin/pip-audit ## ask PyPI whether anything installed here has a known vulnerability
	@$(BIN)/pip-audit --skip-editable --progress-spinner off

wheel: $(VENV)/.dev ## build the wheel into dist/
	@$(BIN)/python -m build --wheel

airflow: .venv-airflow/.ready ## install Apache Airflow into .venv-airflow, for the tests that need it

clean: ## remove what was made, the virtual environments too
	@rm -rf $(VENV) .venv-airflow dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The stamps below stand for an installed environment: made once, and anew when pyproject.toml
# asks for something else.

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$(PYTHON) is older than 3.11; say make PYTHON=/path/to/a/newer/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "could not make $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/bin/pip-audit: $(VENV)/.dev
	@$(BIN)/python -m pip install --quiet pip-audit

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.run

# Airflow brings 130 packages, some of which hold others back: it stays out of .venv.
.venv-airflow/.ready: pyproject.toml
	@echo "Installing Apache Airflow into .venv-airflow ..."
	@test -x .venv-airflow/bin/python || $(PYTHON) -m venv .venv-airflow
	@.venv-airflow/bin/python -m pip install --quiet --editable '.[airflow]'
	@touch $@
