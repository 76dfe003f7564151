# make demo: set-up and the whole series on sample brains · make test: set-up and all tests · make app: slider panels
# make bench: measure this machine, beside the usual ways of doing the same
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser

.PHONY: demo test lab app bench lint clean

demo: $(READY)
	$(BIN)/python -m oasis_utils run --profile demo

test: $(READY) $(BROWSER)
	$(BIN)/ruff check .
	$(BIN)/ruff check --isolated --select F821 notebooks
	$(BIN)/python -m pytest

lab: $(READY)
	$(BIN)/jupyter lab notebooks

app: $(READY)
	$(BIN)/python -m oasis_utils app

bench: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	for subject in quantizer train_step sampling data habits; do OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$subject.py || exit; done
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/summary.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff check --isolated --select F821 notebooks
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

# The browser tests use the system's Chromium or fetch one for this user; without either they are skipped and say so.
$(BROWSER): $(READY)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT=10000 $(BIN)/python -m playwright install chromium || \
		echo "no Chromium: browser tests will be skipped"
	@touch $@
