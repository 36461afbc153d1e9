# Everything that a developer or a continuous integration machine runs. `make help` lists it.
#
# A target creates the environment that it needs and reinstalls when pyproject.toml changes. There are two: .venv runs,
# tests and lints Flamework; .venv-peers also has PyTorch, JAX and other peers, which are large, to compare with.

PYTHON ?= python3
ARGS ?=
comma := ,

# Tests run on all cores, those of one file in one process: a file's recorded answers are written by one.
PARALLEL ?= -n auto --maxprocesses 8 --dist loadfile

# Targets may run side by side (make -j). The stamps of one environment depend on each other, in a chain, so that pip
# never runs twice in it at the same time.
RUN_STAMP := .venv/.installed-examples
TEST_STAMP := .venv/.installed-test
LINT_STAMP := .venv/.installed-lint
GPU_STAMP := .venv/.installed-cuda-libraries
PEERS_STAMP := .venv-peers/.installed-test
ORACLE_STAMP := .venv-peers/.installed-oracle
BENCH_STAMP := .venv-peers/.installed-bench

# On Linux the CUDA compilers are Python packages that need no GPU: with them the tests also compile every kind of CUDA
# kernel to machine code.
TEST_EXTRAS := $(if $(filter Linux,$(shell uname -s)),test$(comma)cuda,test)

# $(call install,ENVIRONMENT,EXTRA)
install = $(1)/bin/python -m pip install --quiet --disable-pip-version-check --root-user-action ignore -e '.[$(2)]' && touch $@
environment = $(patsubst %/bin/python,%,$@)

.DELETE_ON_ERROR:
.PHONY: help run test oracle record bench bench-gpu gpu-report test-gpu lint clean

help:
	@echo 'make run     train a digits classifier, and write the fused graph of its training step to fused-graph/'
	@echo 'make test    run the tests (FLAMEWORK_ORACLE=1 make test: also those that compare with PyTorch)'
	@echo 'make oracle  the same as FLAMEWORK_ORACLE=1 make test'
	@echo 'make record  run them and keep what PyTorch answers, for make test to compare with (tests/expected)'
	@echo 'make bench   measure against PyTorch, JAX, MLX, ... for hours (ARGS="--quick small" is short)'
	@echo 'make bench-gpu  the same on a GPU, against PyTorch, torch.compile, JAX and CuPy'
	@echo 'make gpu-report  compile the kernels of these programs for a GPU, and list what they take; needs no GPU'
	@echo 'make test-gpu    the tests that need a GPU; says why where there is none'
	@echo 'make lint    ruff, and mypy over the public surface'
	@echo 'make clean   remove environments, caches and outputs'
	@echo 'ARGS="..." is handed to the program that a target runs; PYTHON=python3.12 chooses the interpreter.'

run: $(RUN_STAMP)
	.venv/bin/python examples/digits.py $(ARGS)

ifeq ($(FLAMEWORK_ORACLE),1)
test: oracle
else
test: $(TEST_STAMP)
	.venv/bin/python -m pytest $(PARALLEL) $(ARGS)
endif

oracle: $(ORACLE_STAMP)
	.venv-peers/bin/python -m pytest $(PARALLEL) $(ARGS)

record: $(ORACLE_STAMP)
	FLAMEWORK_RECORD=1 .venv-peers/bin/python -m pytest tests/frontend $(PARALLEL) $(ARGS)

bench: $(BENCH_STAMP)
	.venv-peers/bin/python tests/benchmarks/run.py $(ARGS)

bench-gpu: .venv-gpu/.installed-bench-gpu
	.venv-gpu/bin/python tests/benchmarks/run.py --device cuda --markdown tests/benchmarks/RESULTS-GPU.md $(ARGS)

# The rows that need a GPU are skipped, with the reason, where there is none. NVIDIA's libraries are tested, too.
test-gpu: $(GPU_STAMP)
	.venv/bin/python -m pytest tests/gpu tests/runtime -m gpu -rs $(ARGS)

gpu-report: $(TEST_STAMP)
	.venv/bin/python tests/benchmarks/gpu_report.py $(if $(ARGS),,--markdown tests/benchmarks/RESULTS-GPU.md) $(ARGS)

# mypy knows packages by their folders, and this one's folders get their names from pyproject.toml: link them up.
lint: $(LINT_STAMP)
	.venv/bin/python -m ruff check .
	rm -rf build/typed && mkdir -p build/typed/flamework
	ln -s $(CURDIR)/frontend/* $(CURDIR)/compiler $(CURDIR)/runtime $(CURDIR)/kernels build/typed/flamework/
	cd build/typed && $(CURDIR)/.venv/bin/python -m mypy --config-file $(CURDIR)/pyproject.toml -p flamework $(ARGS)

clean:
	rm -rf .venv .venv-peers .venv-gpu build dist fused-graph *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find compiler frontend kernels runtime tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

# A new virtual environment. It ignores itself for git, as Python 3.13 and later have it do.
.venv/bin/python .venv-peers/bin/python .venv-gpu/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Flamework needs Python 3.11 or later; $(PYTHON) is' "$$($(PYTHON) --version 2>&1 || echo missing)." \
	       'Name another one: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(environment)
	@echo '*' > $(environment)/.gitignore

$(RUN_STAMP): pyproject.toml | .venv/bin/python
	$(call install,.venv,examples)

$(TEST_STAMP): $(RUN_STAMP)
	$(call install,.venv,$(TEST_EXTRAS))

$(LINT_STAMP): $(TEST_STAMP)
	$(call install,.venv,lint)

$(GPU_STAMP): $(LINT_STAMP)
	$(call install,.venv,cuda-libraries)

$(PEERS_STAMP): pyproject.toml | .venv-peers/bin/python
	$(call install,.venv-peers,$(TEST_EXTRAS))

$(ORACLE_STAMP): $(PEERS_STAMP)
	$(call install,.venv-peers,oracle)

$(BENCH_STAMP): $(ORACLE_STAMP)
	$(call install,.venv-peers,bench)

.venv-gpu/.installed-bench-gpu: pyproject.toml | .venv-gpu/bin/python
	$(call install,.venv-gpu,bench-gpu)
