# Two commands do everything on a machine with Python 3.11+ and make: `make quickstart` and `make test`.

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
comma := ,
# cuda12 or cuda13: jax for GPUs, with CUDA of that version.
JAX ?=
# One file for each kind of installation, made when it is done.
INSTALLED = $(VENV)/installed$(if $(JAX),-$(JAX))
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
RUN := $(VENV)/bin/python -m humalign_jax.main

.PHONY: quickstart test test-offline test-slurm test-versions check docs venv clean

# The whole study, end to end, on images that the package renders itself and observers that it simulates.
quickstart: $(INSTALLED)
	$(RUN) --config=configs/quickstart.py --workdir=runs/quickstart
	@echo "Curves: $(VENV)/bin/tensorboard --logdir runs/quickstart/networks"

# -n 2: most of a test's time is compilation, which uses one core.
test: $(VENV)/installed-test check
	@.ci/install-browser
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile

# All tests with the network blocked, or a reason why this system cannot block it.
test-offline: $(VENV)/installed-test
	.ci/offline $(VENV)/bin/python -m pytest -n 2 --dist loadfile

# The batch scripts on a real SLURM of this machine, or a reason why there is none; root gets it with apt-get.
test-slurm: $(VENV)/installed-test
	tests/slurm/cluster.sh --install $(VENV)/bin/python -m pytest -m slurm tests/slurm tests/test_sweep.py

# Newer Pythons bring newer NumPy, SciPy and jax: a part of the tests that uses each of them, in an environment of its own.
test-versions: $(VENV)/installed-test
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile tests/rsa/distances/test_distances.py tests/rsa/large/test_stream.py tests/alignment \
	  tests/models tests/train/test_step.py tests/experiments/test_study.py

check: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/pyright

# The site of the documentation. Notebooks run, and a warning, such as a link to nothing, is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build --strict --quiet
	@echo "The site: build/site/index.html; with search: $(VENV)/bin/python -m http.server -d build/site"

venv: $(INSTALLED)

$(INSTALLED): setup.py
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer on the PATH; set PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --editable '.[all$(if $(JAX),$(comma)$(JAX))]'
	touch $@

$(VENV)/installed-test: $(INSTALLED) setup.py
	$(PIP) install --quiet --editable '.[test]'
	touch $@

$(VENV)/installed-docs: $(INSTALLED) setup.py
	$(PIP) install --quiet --editable '.[docs]'
	touch $@

clean:
	rm -rf .venv .venv-* .jax_cache .pytest_cache .ruff_cache build dist *.egg-info runs/quickstart
