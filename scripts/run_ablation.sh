#!/usr/bin/env bash
# Set up, then compare networks: arms by seeds, a table, a plot, one dashboard.
#
#   bash scripts/run_ablation.sh [quick|cifar|article|study|study_full] [--seeds N] [--arms NAME ...] [--parts NAME ...] [--jobs N] [--output DIR] [-o K=V ...]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
exec "$root/.venv/bin/python" "$root/tools/ablation.py" "$@"
