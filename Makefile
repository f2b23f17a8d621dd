# Two commands make and check everything: `make book` and `make test`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

SHELL := bash

# The environment. VENV may name one that exists (a conda prefix); PYTHON may name the interpreter.
VENV ?= .venv
AT_LEAST_3_11 := import sys; sys.exit(sys.version_info < (3, 11, 5))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$name" -c '$(AT_LEAST_3_11)' >/dev/null 2>&1 && echo "$$name" && break; done)
ifneq ($(words $(VENV)),1)
$(error VENV must be a path without spaces; it is '$(VENV)')
endif
# How many smoke runs at once, with a notebook beside them, and then how many notebooks. More than one
# wants a GPU each, or none at all.
JOBS ?= 1
ifeq ($(MAKECMDGOALS),book)
MAKEFLAGS += -j$(or $(JOBS),1)
else
.NOTPARALLEL:
endif
BIN := $(if $(filter /%,$(VENV)),,$(CURDIR)/)$(VENV)/bin
export PATH := $(BIN):$(PATH)
export PYDEVD_DISABLE_FILE_VALIDATION := 1

BUILD := _build
STAGE := $(BUILD)/book-src
STAMPS := $(BUILD)/stamps
ENVIRONMENT := $(VENV)/.rsstudy-stamp
NOTEBOOKS := $(wildcard notebooks/*.ipynb)
EXECUTED := $(NOTEBOOKS:%=$(STAGE)/%)
FIRST_PAGE := $(BUILD)/html/index.html

.PHONY: help env book book-sphinx test bench bench-gpu lab lint lock clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(ENVIRONMENT) ## the virtual environment in .venv, from requirements.lock

book: $(FIRST_PAGE) ## the smoke runs, the executed notebooks and the HTML book
	@"$(BIN)/python" -c 'import pathlib, sys; page = pathlib.Path(sys.argv[1]).resolve(); \
		print(f"\nThe book is ready. Open its first page:\n  {page}\n  {page.as_uri()}")' $<

# Files are shared out over WORKERS processes. A thread each, for they would fight over the cores.
WORKERS ?= 2
test: export OMP_NUM_THREADS := $(or $(OMP_NUM_THREADS),1)
test: $(ENVIRONMENT) ## every test, and every notebook cell against its committed output
	@"$(BIN)/rsstudy" pretrain tiny >/dev/null # once, where no book was made before
	@"$(BIN)/python" -m pytest -n $(WORKERS) --dist loadfile --nbval tests/ notebooks/

# What epochs are measured on; generated scenes where no real sets lie.
BENCH_DATA ?= $(if $(RSSTUDY_DATA),ucm,scenes?images=600)
bench: $(ENVIRONMENT) ## the speed benchmarks into results/benchmarks (an hour; nothing else may run)
	@set -e; for what in "rate" "step-profile" "others" "growth --rounds 3" "ranking --large 100000" \
		"epochs --rounds 3 --data $(BENCH_DATA) --image-size 112" \
		"epochs --rounds 2 --data $(BENCH_DATA) --encoder ViT-B-32@random --batch 16 --pictures 13 --name epochs-ViT-B-32" \
		"steps --image-size 112 --rounds 3"; do \
		echo "bench: $$what"; "$(BIN)/python" -m study.speed $$what; \
	done

# Eager and compiled on one card. What does not fit into its memory is left out.
bench-gpu: $(ENVIRONMENT) ## the steps on a GPU, eager and compiled (nothing else may run)
	@"$(BIN)/python" -m study.speed rate --device cuda && for batch in 16 256 1024; do \
		for encoder in ViT-B-32@random vits14-minilm; do \
			echo "bench-gpu: $$encoder, $$batch pairs"; "$(BIN)/python" -m study.speed others \
				--device cuda --compile on --batch $$batch --encoder $$encoder --name "others-$${encoder%@*}-$$batch" \
				$$([ $$encoder = vits14-minilm ] && echo --image-size 112) || true; \
		done; \
	done

lab: $(ENVIRONMENT) ## JupyterLab on the notebooks
	"$(BIN)/python" -m jupyterlab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks

lint: $(ENVIRONMENT) ## style, types, and that data flows one way
	"$(BIN)/ruff" check .
	"$(BIN)/ruff" format --check .
	"$(BIN)/mypy"
	"$(BIN)/lint-imports" --no-cache

clean: ## remove what was built (not .venv, not runs/)
	rm -rf $(BUILD) .pytest_cache .ruff_cache .mypy_cache .hypothesis

# --- environment -------------------------------------------------------------------------------

$(ENVIRONMENT): requirements.lock pyproject.toml
	@if ! "$(BIN)/python" -m pip --version >/dev/null 2>&1; then \
		python="$(PYTHON)"; \
		if [ -z "$$python" ] || ! "$$python" -c '$(AT_LEAST_3_11)' >/dev/null 2>&1; then \
			echo "make: Python 3.11.5 or newer is needed; install it, or name it: make PYTHON=/path/to/python3.11" >&2; \
			exit 1; \
		fi; \
		echo "environment: making $(VENV)"; \
		"$$python" -m venv "$(VENV)"; \
	fi
	@echo "environment: installing $$(grep -c == requirements.lock) packages from requirements.lock"
	@set -o pipefail; "$(BIN)/python" -m pip install --disable-pip-version-check -r requirements.lock \
		2>"$(VENV)/pip.log" | awk ' \
		/^(Collecting|Processing)/ && ++n % 25 == 0 {print "environment: found " n " packages"; fflush()} \
		/^Installing/ {print "environment: unpacking " n " packages"; fflush()}' \
		|| { cat "$(VENV)/pip.log" >&2; exit 1; }
	@"$(BIN)/python" -m pip install --disable-pip-version-check -q --no-deps -e . \
		2>"$(VENV)/pip.log" || { cat "$(VENV)/pip.log" >&2; exit 1; }
	@touch $@

# The torch pair is chosen here. Local suffixes (+cpu) and the CUDA packages stay out of the lock:
# torch's own metadata brings the right ones on each machine.
TORCH := torch==2.13.0 torchvision==0.28.0
lock: ## requirements.lock anew, from an empty environment
	@set -eo pipefail; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	"$(PYTHON)" -m venv "$$folder/env"; \
	"$$folder/env/bin/python" -m pip install --disable-pip-version-check --upgrade \
		setuptools wheel $(TORCH) ".[towers,cluster,book,test]"; \
	{ echo "# Every package of the study with all its extras (towers, cluster, book, test), pinned."; \
	  echo "# Made by 'make lock' in an empty Python 3.11 environment; do not edit by hand."; \
	  "$$folder/env/bin/python" -m pip freeze --all --exclude pip --exclude rsstudy \
		| sed -E 's/\+[A-Za-z0-9.]+$$//' | grep -viE '^(nvidia-[^m]|cuda-|triton)'; \
	} > requirements.lock.new; \
	mv requirements.lock.new requirements.lock

# --- book --------------------------------------------------------------------------------------

# Checksums of what the book is made from. A file under $(STAMPS) changes only when its content
# does, so that touching or checking out a file again makes no work.
define checksums
	@mkdir -p $(@D)
	@find $(1) -type f ! -path '*/__pycache__/*' ! -name '.*' $(2) -print0 2>/dev/null \
		| LC_ALL=C sort -z | xargs -0 cksum > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef

$(STAMPS)/package: FORCE
	$(call checksums,rsstudy notebooks/study)

$(STAMPS)/pages: FORCE
	$(call checksums,book _config.yml)

$(STAMPS)/results: FORCE
	$(call checksums,results)

runs/.smoke: $(ENVIRONMENT) $(STAMPS)/package
	@set -e; for suite in compare adapter; do \
		echo "runs: the suite $$suite at scale smoke"; \
		"$(BIN)/python" -m study suite $$suite --scale smoke --jobs $(JOBS); \
	done
	@mkdir -p $(@D) && touch $@

# Copies are executed, in the folder of the notebook they copy; the committed files stay as they are.
# Only those that run a suite wait for the smoke runs.
$(patsubst %,$(STAGE)/%,$(shell grep -l run_suite $(NOTEBOOKS))): runs/.smoke
$(STAGE)/notebooks/%.ipynb: notebooks/%.ipynb $(ENVIRONMENT) $(STAMPS)/package $(STAMPS)/results
	@echo "notebook: executing $<"
	@$(if $(filter-out 1,$(JOBS)),OMP_NUM_THREADS=1) \
		"$(BIN)/python" -m nbconvert --to notebook --execute --ExecutePreprocessor.timeout=-1 \
		--ExecutePreprocessor.kernel_name=python3 --log-level=WARN --output-dir=$(@D) $< \
		--ExecutePreprocessor.extra_arguments=--IPKernelApp.log_level=ERROR

define staged
	@rm -rf $(1) $(STAGE)/book
	@mkdir -p $(STAGE)/notebooks && cp -R book _config.yml $(STAGE)
	@"$(BIN)/python" -m study checks --out $(STAGE)/book/traced.json >/dev/null
endef

$(FIRST_PAGE): $(ENVIRONMENT) $(STAMPS)/pages $(EXECUTED)
	@echo "book: building the pages"
	$(call staged,$(BUILD)/html)
	@cd $(STAGE) && "$(BIN)/jupyter-book" build . --toc book/_toc.yml --path-output "$(CURDIR)" \
		--all -W --keep-going -q >/dev/null
	@"$(BIN)/python" -m study cards --out $(BUILD)/html/_static/runs >/dev/null
	@touch $@

# The way out when version 1 of jupyter-book ends: newer packages, in an environment of their own.
SPHINX := $(BUILD)/sphinx-env
$(SPHINX)/.stamp: book/_ext/requirements.txt $(ENVIRONMENT)
	@echo "environment: making $(SPHINX)"
	@"$(BIN)/python" -m venv --clear $(SPHINX)
	@$(SPHINX)/bin/python -m pip install --disable-pip-version-check -q -r $<
	@touch $@

book-sphinx: $(SPHINX)/.stamp $(EXECUTED) ## the HTML book by the newest Sphinx, without jupyter-book
	$(call staged,$(BUILD)/html-sphinx)
	@$(SPHINX)/bin/sphinx-build -b html -c $(STAGE)/book/_ext -d $(BUILD)/sphinx-doctrees -E -W \
		--keep-going -q $(STAGE) $(BUILD)/html-sphinx
	@"$(BIN)/python" -m study cards --out $(BUILD)/html-sphinx/_static/runs >/dev/null
	@echo "book: $(BUILD)/html-sphinx/index.html"
