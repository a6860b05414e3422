#!/usr/bin/env bash
# Make .venv, install with the extras for tests and docs, and check everything: format, lint, types, tests.
# Arguments go to pytest: `bash scripts/test.sh --slow` adds the slow tier.
# `bash scripts/test.sh tests/gpu -m gpu` runs the gpu tier alone; without a CUDA device its tests are skipped.
# MovieLens tests run where DSSM_DATA names the folder that holds ml-100k and ml-1m; else they are skipped.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/environment.sh"
if [ -n "${DSSM_DATA:-}" ]; then
  DSSM_DATA=$(cd "$DSSM_DATA" && pwd)
  export DSSM_DATA
fi
cd "$root"
make_environment "[docs,test]" "$root"
.venv/bin/python -m ruff format --check .
.venv/bin/python -m ruff check .
.venv/bin/python -m mypy
.venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal "$@"
