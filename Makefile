# Every target does the set-up that it needs: `make demo` and `make test` work in a fresh clone.
# Needs GNU make and Python >= 3.11 (make PYTHON=python3.12 takes another one).

PYTHON ?= python3
VENV   ?= .venv
DEMO   ?= demo

bin   := $(VENV)/bin
stamp := $(VENV)/.installed
mtmoe := $(bin)/mtmoe
# Three processes for two cores, since many tests wait for what they started, and one thread for each process: two
# threads each would wait for each other. The order of the files is that of tests/conftest.py.
cores   := $(shell nproc 2>/dev/null || sysctl -n hw.ncpu)
workers := $(shell echo $$(( $(cores) < 6 ? $(cores) * 3 / 2 : 8 )))
pytest  := MAKEFLAGS= OMP_NUM_THREADS=1 $(bin)/python -m pytest -n $(workers) --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

.DEFAULT_GOAL := help
.PHONY: help install demo test check types docs format clean

help:
	@echo "make install   make $(VENV) with mtmoe in it, at the versions of constraints.txt"
	@echo "make demo      fetch English-French text, train a small model on it, translate, print BLEU;"
	@echo "               after an interruption it goes on where it was"
	@echo "make test      run the tests"
	@echo "make check     run the linter, the formatter's check, the type checker and the tests"
	@echo "make docs      build docs/ into build/docs; begin to read at build/docs/index.html"
	@echo "make format    format the code"
	@echo "make clean     remove $(VENV), $(DEMO), what was built, and all caches"

install: $(stamp)

# The stamp is written last, so that an interrupted installation is begun again. A broken environment
# (a Python that was removed, an interrupted `python -m venv`) is made anew.
$(stamp): pyproject.toml setup.py constraints.txt $(wildcard mtmoe/inference/compiled/source/*)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "mtmoe needs Python >= 3.11; $(PYTHON) is `$(PYTHON) --version 2>&1`." >&2; \
	    echo "Name another one: make $(or $(MAKECMDGOALS),install) PYTHON=python3.12" >&2; exit 1; }
	@echo "installing mtmoe and what it needs into $(VENV); the first time this downloads some hundred megabytes"
	@$(bin)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

demo: $(stamp)
	$(mtmoe) fetch demo
	$(mtmoe) preprocess demo $(DEMO)/data
	$(mtmoe) train demo $(DEMO)/run --data $(DEMO)/data $(if $(wildcard $(DEMO)/run/recipe.toml),--resume)
	@printf '%s\n' 'Where is the station?' 'I have never seen such a beautiful garden.' \
	    'She said that she would come back tomorrow.' > $(DEMO)/sentences.en
	$(mtmoe) translate $(DEMO)/run < $(DEMO)/sentences.en > $(DEMO)/sentences.fr
	@paste -d '\n' $(DEMO)/sentences.en $(DEMO)/sentences.fr
	$(mtmoe) bleu $(DEMO)/run

test: $(stamp)
	$(pytest)

check: $(stamp)
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	@$(MAKE) --no-print-directory -j 2 types test

# Beside the tests: they leave a core idle now and then, and mypy takes one for a minute.
types: $(stamp)
	$(bin)/mypy

docs: $(stamp)
	$(bin)/python -m sphinx -q -W --keep-going docs build/docs

format: $(stamp)
	$(bin)/ruff check --fix .
	$(bin)/ruff format .

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info mtmoe/inference/compiled/*.library .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
