"""Show that a refactoring changed no number: fit and test every config in two checkouts, and compare to the last bit.

    python scripts/compare_checkouts.py record ../before before.json
    python scripts/compare_checkouts.py record . after.json
    python scripts/compare_checkouts.py compare before.json after.json

A record holds, for each config: every training loss, a digest of the weights, the metrics, and the name and the files
of each cache. One epoch, one thread, at most ``--steps`` batches.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

OVERLAYS = {"ddp", "sharded", "multimodal-emoji"}
NEEDS_OWN_FILES = {"files"}
HEAVY = {"multimodal"}
"""Pictures through a deep network on a CPU: a few steps, on the data that ship."""


def digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def options_of(name: str, steps: int) -> list[str]:
    limited = [f"--trainer.limit_train_batches={2 if name in HEAVY else steps}"]
    return [*limited, *(["--trainer.limit_val_batches=1"] if name in HEAVY else [])]


def configs_of(folder: Path, name: str) -> list[str]:
    over = [folder / "multimodal-emoji.yaml"] if name == "multimodal" else []
    return [option for path in (folder / f"{name}.yaml", *over) for option in ("--config", str(path))]


def run(checkout: Path, work: Path, arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PL_GLOBAL_SEED": "1"}
    command = [sys.executable, "-m", "dssm_lightning", *arguments]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)} failed in {checkout}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")


def losses_of(run_folder: Path) -> list[str]:
    with (run_folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        return [row["train/loss"] for row in csv.DictReader(file) if row.get("train/loss")]


def weights_of(run_folder: Path) -> str:
    content = torch.load(run_folder / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=True)
    tensors = sorted(content["state_dict"].items())
    return digest(*(part for key, value in tensors for part in (key.encode(), value.contiguous().numpy().tobytes())))


def caches_of(work: Path) -> dict[str, str]:
    """The digest of the files of each cache, folds among them."""
    folders = [path for path in sorted((work / "cache").iterdir()) if path.is_dir()]
    files = {folder.name: sorted(path for path in folder.rglob("*") if path.is_file()) for folder in folders}
    return {
        name: digest(*(part for path in paths for part in (path.name.encode(), path.read_bytes())))
        for name, paths in files.items()
    }


def record_config(checkout: Path, name: str, steps: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        quiet = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
        each_step = ["--trainer.max_epochs=1", "--trainer.log_every_n_steps=1", *options_of(name, steps)]
        run(checkout, work, ["fit", *configs_of(checkout / "configs", name), *quiet, *each_step])
        heavy = ["--trainer.limit_test_batches=1"] if name in HEAVY else []
        run(checkout, work, ["test", "--ckpt_path", "last", *quiet, *heavy])
        [found] = (work / "runs").glob("*/version_0")
        return {
            "losses": losses_of(found),
            "weights": weights_of(found),
            "metrics": json.loads((found / "metrics.json").read_text(encoding="utf-8")),
            "caches": caches_of(work),
        }


def record(checkout: Path, output: Path, steps: int, only: list[str]) -> None:
    names = {path.stem for path in (checkout / "configs").glob("*.yaml")} - OVERLAYS - NEEDS_OWN_FILES
    done: dict[str, Any] = json.loads(output.read_text(encoding="utf-8")) if output.is_file() else {}
    for name in sorted(names & set(only) if only else names):
        if name not in done:
            done[name] = record_config(checkout.resolve(), name, steps)
            output.write_text(json.dumps(done, indent=1), encoding="utf-8")
            print(f"{name}: {len(done[name]['losses'])} losses, {len(done[name]['metrics'])} metrics", flush=True)


def compare(before: Path, after: Path) -> bool:
    """Print a line for each config; whether all are equal."""
    one, two = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    same = one.keys() == two.keys()
    for name in sorted(one.keys() | two.keys()):
        a, b = one.get(name), two.get(name)
        if a is None or b is None:
            print(f"{name}: in one record only")
            continue
        differ = [part for part in a if a[part] != b[part]]
        same = same and not differ
        counts = (
            f"{len(a['losses'])} losses, weights {a['weights']}, {len(a['metrics'])} metrics, {len(a['caches'])} cache"
        )
        print(f"{name}: {'DIFFERS in ' + ', '.join(differ) if differ else 'equal'} ({counts})")
    return same


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("checkout", type=Path)
    recording.add_argument("output", type=Path)
    recording.add_argument("--steps", type=int, default=200)
    recording.add_argument("--only", nargs="*", default=[])
    comparing = commands.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        record(arguments.checkout, arguments.output, arguments.steps, arguments.only)
    elif not compare(arguments.before, arguments.after):
        raise SystemExit("the checkouts differ")


if __name__ == "__main__":
    main()
