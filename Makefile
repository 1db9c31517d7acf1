# Label Anything workbook. `make help` lists what there is.
PROFILE  ?= auto
DATA     ?=
EPISODES ?=
SEEDS    ?=
FOLDS    ?=
TABLE    ?= table2
PYTHON   ?= python3

# An active conda environment, or PY=..., is used as it is; otherwise .venv is made.
ifdef CONDA_PREFIX
PY ?= python
endif
ifndef PY
PY    := .venv/bin/python
SETUP := .stamps/setup
endif

export JUPYTER_PREFER_ENV_PATH := 1
SOURCES := $(shell find la -name '*.py' -not -name '_*') la/__main__.py
TABLES  := $(patsubst notebooks/%.ipynb,%,$(wildcard notebooks/table*.ipynb notebooks/figure3.ipynb))
PAGES   := $(TABLES) curves own_method protocol train
RUN     := --profile $(PROFILE) $(if $(DATA),--data "$(DATA)") $(if $(EPISODES),--episodes $(EPISODES)) \
           $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FOLDS),--folds $(FOLDS))
STAMPS  := .stamps/$(shell echo '$(RUN)' | cksum | cut -d' ' -f1)

BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.DEFAULT_GOAL := help
.PHONY: help setup lab test check bench reproduce plan strip clean distclean \
        $(PAGES:%=reproduce-%) reproduce-summary

help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22
	@echo 'reproduce-PAGE        one of: $(PAGES) summary'
	@echo 'Variables: PROFILE DATA EPISODES SEEDS FOLDS PY, e.g. make reproduce-table2 DATA=my/coco EPISODES=100'

setup: $(SETUP)  ## make .venv with everything in it (not with conda or PY=)

.stamps/setup: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo 'venv failed; on Debian install python3-venv'; rm -rf .venv; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@mkdir -p $(@D) && touch $@

lab: $(SETUP)  ## open the workbook in JupyterLab, on this machine alone
	$(PY) -m jupyter lab --ServerApp.ip=127.0.0.1 notebooks/start_here.ipynb

test: $(SETUP)  ## run the tests; those in a browser only where Chromium is
	$(if $(BROWSER),,@echo 'No Chromium here: the tests in a browser are left out.')
	$(PY) -m pytest -n 2 --dist loadfile $(if $(BROWSER),,-m 'not browser')

check: $(SETUP)  ## format and lint
	$(PY) -m ruff format --check la tests && $(PY) -m ruff check la tests

plan: $(SETUP)  ## stages, gigabytes, hours of TABLE, and what would stop it
	$(PY) -m la plan --profile $(PROFILE) $(if $(DATA),--data "$(DATA)") --table $(TABLE)

bench: $(SETUP)  ## measure speed and memory beside the references (QUICK=1: minutes)
	$(PY) -m tests.bench $(if $(QUICK),--quick)

reproduce: $(PAGES:%=reproduce-%)  ## every table and figure of the paper, and the front page
	@$(MAKE) --no-print-directory reproduce-summary

$(PAGES:%=reproduce-%) reproduce-summary: reproduce-%: $(STAMPS)/%

$(STAMPS)/%: notebooks/%.ipynb $(SOURCES) | $(SETUP) .stamps/own
	$(PY) -m la run $* $(RUN)
	@mkdir -p $(@D) && touch $@

# Results that came with the clone are made anew, once: what stands there then was made here, and
# `git diff results` shows what differs on this machine.
.stamps/own:
	@mkdir -p $(@D)
	@if git rev-parse --is-inside-work-tree >/dev/null 2>&1; then \
	  git ls-files -z 'results/*/cells/*' 'results/*/fits/*' | xargs -0 -r rm -f; fi
	@touch $@

strip: $(SETUP)  ## take the outputs out of the notebooks
	$(PY) -m nbstripout --keep-id --extra-keys metadata.language_info notebooks/*.ipynb

clean:  ## forget what was made; results, models and caches stay
	rm -rf .stamps/[0-9]* build *.egg-info .pytest_cache .ruff_cache results/*/*.partial.ipynb

distclean: clean  ## remove the environment, models and caches too
	rm -rf .stamps .venv runs cache
