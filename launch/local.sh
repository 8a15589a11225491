#!/usr/bin/env bash
# Starts or continues a run, setting up .venv first where it is missing: launch/local.sh CONFIG WORKDIR [--config.key=value ...]
set -uo pipefail
if [ $# -lt 2 ]; then
  echo "usage: launch/local.sh CONFIG WORKDIR [--config.key=value ...]" >&2
  exit 2
fi
config=$1 workdir=$2
shift 2
cd "$(dirname "$0")/.." || exit 2
make --silent venv || exit 2
exec .venv/bin/python -m humalign_jax.main --config="$config" --workdir="$workdir" "$@"
