# Label Anything workbook. `make help` lists the targets and the variables.
PROFILE   ?= auto
DATA      ?=
EPISODES  ?=
SEEDS     ?=
FOLDS     ?=
UNSEEN    ?=
METHODS   ?=
TABLE     ?= table2
GPUS      ?=
RECOMPUTE ?=
ACCEPT    ?=
LOCKED    ?=
PYTHON    ?= python3

# An active conda environment, or PY=..., is used as it is; otherwise .venv is made.
# An environment that was installed with LOCKED=1 keeps the locked versions.
ifdef CONDA_PREFIX
PY ?= python
endif
ifndef PY
PY    := .venv/bin/python
SETUP := $(if $(LOCKED),.venv/.installed-locked,$(or $(wildcard .venv/.installed-locked),.venv/.installed))
endif

export JUPYTER_PREFER_ENV_PATH := 1
INTERACTIVE := start_here draw_prompts photographs episodes inspect_predictions
PAGES := $(filter-out $(INTERACTIVE) summary,$(patsubst notebooks/%.ipynb,%,$(wildcard notebooks/*.ipynb)))
# In single quotes nothing of a path or a name is a command to the shell.
quoted = '$(subst ','\'',$(value $(1)))'
OWN   := $(if $(value DATA), --data $(call quoted,DATA))$(if $(value UNSEEN), --unseen $(call quoted,UNSEEN))
WHERE := --profile $(PROFILE)$(OWN)
RUN   := $(WHERE) $(if $(EPISODES),--episodes $(EPISODES)) $(if $(SEEDS),--seeds $(SEEDS)) \
         $(if $(FOLDS),--folds $(FOLDS)) $(if $(METHODS),--methods $(METHODS)) \
         $(if $(RECOMPUTE),--recompute)
LA    := $(PY) -m $(if $(GPUS),torch.distributed.run --nproc-per-node $(GPUS) -m )la

# Two processes, and one for the tests in a browser, which wait half of the time.
SHARED  := --dist loadfile --no-loadscope-reorder -n
BROWSER := $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.DEFAULT_GOAL := help
.PHONY: help setup lock lab test test-fast test-gpu check bench reproduce verify readme readme-figures site plan strip clean distclean \
        $(PAGES:%=reproduce-%) reproduce-summary

help:  ## list the targets and variables
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 22
	@echo 'reproduce-PAGE        one of: $(PAGES) summary'
	@echo "reproduce-table2 PROFILE=published-mae   scores the authors' four models at 1-, 2- and 5-way;"
	@echo "                      downloads 1.5 GB of models and 20 GB of COCO; 1 to 2 hours on an A100 (estimate)"
	@echo
	@echo 'PROFILE=quick         quick, paper-sam, paper-mae, published-mae, ...; auto chooses by what is here'
	@echo 'PROFILE=quick@200     a profile with another number of training steps'
	@echo 'DATA=FOLDER           a COCO-format folder instead of the data of the profile'
	@echo 'UNSEEN=cat,dog        classes of DATA to hold out in place of the folds'
	@echo 'FOLDS=0 SEEDS=0,1 EPISODES=100 METHODS=la,prototype   a part of a table'
	@echo 'TABLE=table2          the table of `plan` and `verify`'
	@echo 'RECOMPUTE=1           compute again what is stored'
	@echo 'ACCEPT=1              `verify` notes that other code gave equal numbers, after a refactor'
	@echo 'GPUS=4                several GPUs, with torchrun'
	@echo 'LOCKED=1              `setup` installs the versions of requirements.lock'
	@echo 'PYTHON= PY=           the Python that makes .venv; an environment to use as it is'

setup: $(SETUP)  ## make .venv with everything in it (not with conda or PY=)

.venv/.installed .venv/.installed-locked: pyproject.toml $(if $(LOCKED),requirements.lock)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed; name one: make PYTHON=python3.12'; exit 1; }
	@$(PYTHON) -m venv .venv || \
	  { echo 'venv failed; on Debian install python3-venv'; rm -rf .venv; exit 1; }
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' \
	  $(if $(findstring locked,$@),-c requirements.lock)
	@rm -f .venv/.installed* && touch $@

# CUDA packages are left out: torch chooses its own, and a machine without a GPU has none.
lock: $(SETUP)  ## write the versions of this environment to requirements.lock
	$(PY) -m pip freeze --all --exclude-editable | sed -nE 's/^([A-Za-z0-9._-]+==[^+ ]+).*/\1/p' | \
	  grep -viE '^(nvidia-|cuda-|triton|pip=)' > requirements.lock

lab: $(SETUP)  ## open the workbook in JupyterLab, on this machine alone; its file browser reaches all folders
	$(PY) -m jupyter lab --ServerApp.ip=127.0.0.1 --ServerApp.root_dir=/ \
	  --ServerApp.preferred_dir='$(CURDIR)/notebooks' \
	  --LabApp.default_url='/lab/tree$(CURDIR)/notebooks/start_here.ipynb'

# Their processes would compile every file again if Python were told to keep nothing compiled.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

test: $(SETUP)  ## run the tests; those in a browser only where Chromium is
	$(if $(BROWSER),,@echo 'Chromium is not installed: the browser tests are skipped.')
	$(PY) -m pytest $(SHARED) $(if $(BROWSER),3,2 -m 'not browser')

test-fast: $(SETUP)  ## run the tests without browsers and without whole commands
	$(PY) -m pytest $(SHARED) 2 -m 'not browser and not slow'

check: $(SETUP)  ## check format, lint and types
	$(PY) -m ruff format --check la tests
	$(PY) -m ruff check la tests
	$(PY) -m mypy

plan: $(SETUP)  ## stages, gigabytes, hours of TABLE, and what would stop it
	$(PY) -m la plan $(WHERE) --table $(TABLE) $(if $(FOLDS),--folds $(FOLDS))

weights: $(SETUP)  ## train the model that comes with the package again, and its bias
	$(PY) -m la export --ways 1 --shots 1

test-gpu: $(SETUP)  ## check and time the project on a GPU (4 minutes); figures go to build/on_gpu.jsonl
	$(PY) -m tests.on_gpu --out build/on_gpu.jsonl

bench: $(SETUP)  ## measure speed and memory beside the references (QUICK=1: minutes)
	$(PY) -m tests.bench $(if $(QUICK),--quick)

reproduce: $(PAGES:%=reproduce-%)  ## every table and figure of the paper, and the front page
	@$(MAKE) --no-print-directory reproduce-summary

# Always called: `la run` compares the page with what it was made from and returns if all is equal.
$(PAGES:%=reproduce-%) reproduce-summary: reproduce-%: $(SETUP)
	$(LA) run $* $(RUN)

verify: $(SETUP)  ## make TABLE again in a folder of its own and compare with the stored numbers
	$(PY) -m tests.verify $(TABLE) $(WHERE) $(if $(FOLDS),--folds $(FOLDS)) \
	  $(if $(SEEDS),--seeds $(SEEDS)) $(if $(ACCEPT),--accept)

readme: $(SETUP)  ## write the results in README.md from the stored measurements
	$(PY) -m tests.readme

readme-figures: $(SETUP)  ## make README's pictures and everything that it says of the results
	$(LA) run figure3 --profile quick
	$(LA) run summary --profile quick
	$(PY) -m tests.editor_picture
	$(PY) -m tests.readme

site: $(SETUP)  ## build/site: all results and documents as web pages
	$(PY) docs/site.py
	@echo build/site/index.html

strip: $(SETUP)  ## take the outputs out of the notebooks
	$(PY) -m nbstripout --keep-id --extra-keys metadata.language_info notebooks/*.ipynb

clean:  ## remove temporary files; results, models and caches stay
	rm -rf build *.egg-info .pytest_cache .ruff_cache .mypy_cache results/*/*.partial.ipynb

distclean: clean  ## remove the environment, models and caches too
	rm -rf .venv runs cache
