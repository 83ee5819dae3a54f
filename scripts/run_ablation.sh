#!/usr/bin/env bash
# Set up the environment, then compare networks; see tools/ablation.py.
#
#   bash scripts/run_ablation.sh [quick|tasks|multi_label|cifar|article|imagenet|study|study_full] [--seeds N] [--arms NAME ...] [--parts NAME ...] [--jobs N] [--output DIR] [-o K=V ...]
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
bash "$root/scripts/setup.sh"
exec "$root/.venv/bin/python" "$root/tools/ablation.py" "$@"
