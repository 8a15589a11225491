# shellcheck shell=bash
# Settings of this cluster, read by the batch scripts in the root of the repository before they start Python.
# Remove the # of the lines that you need; modules, paths and variables set here hold in every job.

# module purge
# module load cuda/12.4

# The environment that `make venv VENV=...` has made; default: .venv in the repository.
# export VENV=/project/humalign/.venv

# The folder with the data, for configs whose data.root is empty.
# export HUMALIGN_DATA=/project/data

# Compiled programs, on a disk that all nodes share: the first run of a program compiles it for all.
# export JAX_COMPILATION_CACHE_DIR=/project/humalign/compiled
