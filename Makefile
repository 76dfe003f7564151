# make demo: set-up and the whole series on sample brains · make test: set-up and all tests · make app: slider panels
# make page: a page that draws in the browser, runs/page/index.html
# make test-fast: the tests of the daily loop · make lint: style, imports, docstrings
# make book: a static site of an executed run (RUN=runs/demo) and the docs
# make solutions: executes the solutions of the exercises on a run once; each later book of it has their outputs
# make worksheets: exercises to fill in
# make bench: measure this machine, beside the usual ways of doing the same
PYTHON ?= python3
# make demo TORCH=cpu: without the CUDA libraries; TORCH_INDEX names an index of torch's CPU wheels
TORCH ?=
TORCH_INDEX ?=
# make book RUN=DIR REPOSITORY=ADDRESS: of another run; with links and launch buttons of a repository
# PUBLISH=yes: its data are not sample brains, and you have the right to publish their pictures
RUN ?= runs/demo
REPOSITORY ?=
PUBLISH ?=
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BROWSER := $(VENV)/.browser
BOOK := $(VENV)/.book

FAST := not slow and not browser and not faults and not fuzz
APART := --maxprocesses 4 --dist loadgroup --no-loadscope-reorder  # see tests/conftest.py

.PHONY: demo test test-fast lab app page book solutions worksheets bench lint clean

demo: $(READY)
	$(BIN)/python -m oasis_utils run --profile demo

# on two cores or more, in that many processes of one thread
test: lint $(BROWSER)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --durations 30 -n auto $(APART)

test-fast: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist loadscope -m '$(FAST)'

lab: $(READY)
	$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/01_data_exploration.ipynb

app: $(READY)
	$(BIN)/python -m oasis_utils app

page: $(READY)
	$(BIN)/python -m oasis_utils page --out runs/page

book: $(BOOK)
	$(BIN)/python -m book --run '$(RUN)' $(if $(REPOSITORY),--repository '$(REPOSITORY)') $(if $(filter yes,$(PUBLISH)),--publish-pictures)

solutions: $(READY)
	$(BIN)/python -m book.solutions --run '$(RUN)'

worksheets: $(READY)
	$(BIN)/python -m book.worksheets

bench: $(READY)
	$(BIN)/python -m pip install --quiet -e '.[bench]'
	for subject in quantizer train_step sampling data habits judging; do OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$subject.py || exit; done
	$(BIN)/python benchmarks/end_to_end.py
	$(BIN)/python benchmarks/summary.py

# types of book/ are checked against Sphinx
lint: $(BOOK)
	$(BIN)/ruff check .
	$(BIN)/ruff check --isolated --select F821 notebooks exercises
	$(BIN)/ruff format --check oasis_utils tests benchmarks book
	$(BIN)/lint-imports
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb exercises/*.ipynb

clean:
	rm -rf $(VENV) runs data book/_build

# The lock file pins every package; the project itself is installed editable, so edits take effect at once.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
ifeq ($(TORCH)$(TORCH_INDEX),cpu)
	@echo "TORCH=cpu needs TORCH_INDEX=ADDRESS, an index of CPU wheels: see docs/guarantees.md, Installation"; exit 2
endif
	$(PYTHON) -m venv $(VENV)
ifeq ($(TORCH),cpu)
	grep -E '^torch(vision)?==' requirements.lock > $(VENV)/torch.txt
	grep -vE '^(torch(vision)?|triton|nvidia-|cuda-)' requirements.lock > $(VENV)/others.txt
	PIP_INDEX_URL=$(TORCH_INDEX) $(BIN)/python -m pip install --quiet --no-deps -r $(VENV)/torch.txt
	$(BIN)/python -m pip install --quiet -r $(VENV)/others.txt
else
	$(BIN)/python -m pip install --quiet -r requirements.lock
endif
	$(BIN)/python -m pip install --quiet --no-deps -e .
	@touch $@

# The browser tests use the system's Chromium or fetch one for this user; without either they are skipped and say so.
$(BROWSER): $(READY)
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || \
		PLAYWRIGHT_DOWNLOAD_CONNECTION_TIMEOUT=10000 $(BIN)/python -m playwright install chromium || \
		echo "no Chromium: browser tests will be skipped"
	@touch $@

# Only the book, its lint and its tests need Sphinx, so it is not in the lock file.
$(BOOK): $(READY)
	$(BIN)/python -m pip install --quiet -e '.[book]'
	@touch $@
