#!/usr/bin/env bash
# Make .venv, install, train the emoji search, measure it beside its baselines, and answer three searches with pictures.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/environment.sh"
cd "$root"
make_environment "" "$root"
run() { .venv/bin/python -m dssm_lightning "$@"; }
run fit --config configs/emoji.yaml
run test --config configs/emoji.yaml
run baseline --config configs/emoji.yaml --corpus_columns name category subcategory
run search --query "grinning cat" --query "birthday" --query "sea animal" --k 5 --picture quickstart.png
