#!/usr/bin/env bash
# Make .venv, install, train the emoji search, measure it beside its baselines, answer three searches with pictures, and
# write the bundle that `serve` shows in a browser.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source "$root/scripts/environment.sh"
cd "$root"
make_environment "[onnx,serve]" "$root"
run() { .venv/bin/python -m dssm_lightning "$@"; }
run fit --config configs/emoji.yaml
run test --config configs/emoji.yaml
run baseline --config configs/emoji.yaml --corpus_columns name category subcategory
run search --query "grinning cat" --query "birthday" --query "sea animal" --k 5 --picture quickstart.png
run export --config configs/emoji.yaml --output emoji-bundle
echo "To see it in a browser, run: .venv/bin/python -m dssm_lightning serve --bundle emoji-bundle"
echo "and open http://127.0.0.1:8000/"
