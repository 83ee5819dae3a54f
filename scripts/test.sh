#!/usr/bin/env bash
# Set up, lint, check the format, run the tests.
#
#   bash scripts/test.sh [--paddle VERSION] [PYTEST ARGUMENTS]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
setup=(--dev)
if [ "${1:-}" = --paddle ]; then
  setup+=(--paddle "${2:?--paddle takes a version}")
  venv=".venv-$2"
  shift 2
fi
bash scripts/setup.sh "${setup[@]}"

"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m ruff format --check .
# One process per core, each running whole test files: threads within a test slow it down.
cores="$("$venv/bin/python" -c 'from ppcls_lite.utils.resources import count_cores; print(count_cores())')"
exec "$venv/bin/python" -m pytest -n "$cores" --dist loadfile "$@"
