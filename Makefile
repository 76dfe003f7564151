# make demo: set-up and the whole series on sample brains · make test: set-up and all tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lab lint clean

demo: $(READY)
	$(BIN)/python -m oasis_utils run --profile demo

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

lab: $(READY)
	$(BIN)/jupyter lab notebooks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

clean:
	rm -rf $(VENV) runs data

# The lock file pins every package; the project itself is installed editable, so edits take effect at once.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@
