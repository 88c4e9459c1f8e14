# Two words for a newcomer: `make demo`, `make test`. Both start from nothing and may be repeated or interrupted.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-slow test-long test-all test-gx docs tutorials lint ui up status down clean install help \
  installed-modules cache
.DEFAULT_GOAL := help

help:
	@echo "make demo       install, run the whole pipeline on the embedded corpus, show what it made"
	@echo "make install    install alone"
	@echo "make test       install, run the test suite"
	@echo "make test-slow  the slowest tests of flows, workers and outages, which CI runs too"
	@echo "make test-long  an eighth of the long drills, chosen by the hour of the last commit; part of CI"
	@echo "make test-all   all tests, with the long drills, all random examples, and smaller instruction sets"
	@echo "make drill      cause each failure that a run survives: one line a failure (ROWS=drill: also the long ones)"
	@echo "make test-gx    the tests of the data checks with another release of Great Expectations (GX=1.23.2)"
	@echo "make ui         Prefect server, MLflow UI and a worker in the background"
	@echo "make up         the same, and the champion served over HTTP"
	@echo "make status     which of them run, since when, and whether they answer"
	@echo "make down       stop them"
	@echo "make docs       the documentation as a site in build/docs, to be opened from there"
	@echo "make tutorials  execute the notebooks of docs/tutorials and store their output in them"
	@echo "make lint       ruff and mypy"
	@echo "make clean      delete .venv (the store in .reviewlm stays)"

demo: install
	@$(BIN)/reviewlm demo

# Some containers switch off cached bytecode: each worker would rewrite the assertions of all test files again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(READY)-dev
	@$(PYTEST) -m "not slow and not long"

# What `make test` has no time for: docs/development/index.md.
test-slow: $(READY)-dev $(READY)-ray $(READY)-docs
	@$(PYTEST) -m "slow and not long"

test-long: $(READY)-dev $(READY)-ray
	@$(PYTEST) --long-share "$$($(BIN)/python -m tests.rotation)"

ROWS ?= drill and not long
drill: $(READY)-dev
	@$(BIN)/python -m pytest -q -p tests.drill_rows -m "$(ROWS)"

# The numeric rooms once more under smaller instruction sets: no result may depend on what the compiler picks.
# Some drills mostly wait for a server that waits; two more processes keep the cores busy.
WAITING = $(shell expr $$(nproc) + 3)

test-all: $(READY)-dev $(READY)-ray
	@$(PYTEST) --maxprocesses 8 -n $(WAITING) --hypothesis-profile=nightly
	@$(BIN)/python tests/instruction_sets.py avx512_bf16 avx512 avx2 sse4

GX ?= 1.23.2
# An older release may need older packages beside it: make test-gx GX="1.18.2 marshmallow<4".
test-gx: $(READY)-dev
	@rm -rf build/gx
	@$(BIN)/python -m pip install --quiet --no-deps --target build/gx \
	  $(patsubst %,'%',great-expectations==$(GX))
	@PYTHONPATH=build/gx:. $(PYTEST) tests/data_checks

# Sphinx and what it needs, beside the rest. A dead link or a page in no list is an error.
docs: $(READY)-docs
	@$(BIN)/python -m sphinx -q -a -E -W --keep-going -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

# What tests, docs and lint need beside the rest, so that a demo does not wait for it.
$(READY)-dev: $(READY)
	@$(UV) --quiet -e '.[dev]' || { $(PIP_INSTEAD); $(PIP) --quiet -e '.[dev]'; }
	@touch $@

$(READY)-ray: $(READY)
	@$(UV) --quiet -e '.[ray]' || { $(PIP_INSTEAD); $(PIP) --quiet -e '.[ray]'; }
	@touch $@

$(READY)-docs: $(READY)
	@$(UV) --quiet -e '.[docs]' || { $(PIP_INSTEAD); $(PIP) --quiet -e '.[docs]'; }
	@touch $@

# About three minutes of one core; the output changes where code, packages or the processor do.
tutorials: $(READY)-docs
	@$(BIN)/python docs/tutorials/execute.py

lint: $(READY)-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

ui: install
	@$(BIN)/reviewlm services start

up: install
	@$(BIN)/reviewlm services start --serve

status: install
	@$(BIN)/reviewlm services status

down: install
	@$(BIN)/reviewlm services stop

clean:
	rm -rf $(VENV)

# The project's own modules. Where PYTHONDONTWRITEBYTECODE is set, as in many containers, Python keeps none that it has
# compiled: each command would compile a hundred of them again.
ROOMS := core corpus course data_checks evaluation flows models reviewlm serving tasks tracking training

install: $(READY)
	@$(BIN)/python -m compileall -qq $(ROOMS) || true

# uv unpacks on all cores, in a quarter of pip's processor time. It does not read pip's configuration (a mirror, a folder of
# wheels, a proxy's certificate): so pip brings torch, the largest package, and where uv fails, all others too.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile --progress-bar off -c constraints.txt
UV := VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install -c constraints.txt
PIP_INSTEAD := echo "uv did not succeed: pip installs instead"

# What the user sees of the installation: the large packages, one line each. A pipe hides whether it succeeded.
LARGE := (Downloading|Using cached|Processing) [^ ]+ \([0-9]{2,}\.[0-9] ?Mi?B\)
LINES := $(LARGE)|^(Resolved|Prepared|Installed) [0-9]+ .*|^Installing collected packages: .*,|^Still .*|^uv did .*

TICKER := minutes=0; while sleep 60 >/dev/null; do minutes=$$((minutes + 1)); echo "Still installing, $$minutes min"; done

# Modules that a run imports seldom or never, a third of all: Python compiles them when they are imported.
SELDOM := /(tests?|testing/_internal|_inductor|apprise|databricks|fontTools|huggingface_hub|networkx|pip|setuptools)/

# The marker is written last: an interrupted installation is simply taken up again. pip compiles modules on one core,
# compileall on all. Some packages hold templates that do not compile.
$(READY): constraints.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "No python3 found: ReviewLM needs Python 3.11 or newer."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: ReviewLM needs 3.11 or newer. Try: make PYTHON=python3.11 demo"; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the pinned dependencies into $(VENV) (about 2 GB, once, some minutes) …"
	@rm -f $(READY)-pip
	@( ( $(TICKER) ) & ticker=$$!; \
	  $(PIP) --no-deps torch uv && ( $(UV) -e . 2>&1 || { $(PIP_INSTEAD); $(PIP) -e .; } ) && \
	  touch $(READY)-pip; kill $$ticker ) | grep --line-buffered -oE '$(LINES)' | \
	  sed -u 's/^Installing collected packages.*/Unpacking: one to three minutes/' || true
	@test -e $(READY)-pip && rm $(READY)-pip
	@echo "Compiling its modules and kernels …"
	@( $(TICKER) ) & ticker=$$!; $(MAKE) --silent --jobs=2 installed-modules cache; kill $$ticker
	@touch $(READY)

installed-modules:
	@$(BIN)/python -m compileall -qq -j 0 -x '$(SELDOM)' $(VENV)/lib || true

# Once a version of the code: compiled kernels and empty databases in the user's cache. What fails here is made when it is needed.
cache:
	@$(BIN)/python -m reviewlm.fill_cache >/dev/null 2>&1 || true
