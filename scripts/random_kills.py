"""Kill commands at random moments, start them again, and compare the end with that of a run that nobody disturbed.

    python scripts/random_kills.py FOLDER --kills 200 --seed 0   # prints a table: kind, trials, kills, differing, hung

A trial is a fresh working folder. A command is started in it and gets SIGKILL, SIGTERM or SIGINT after a random time,
one of its processes or all of them; this happens up to three times, and then the command may end. Kinds:

- ``fit``, ``fit of two``: with averaged weights, a history, three kept checkpoints; resumed with ``--ckpt_path last``.
  All of ``last.ckpt``, ``best.ckpt`` and the kept checkpoints must be equal, to the last bit: weights, states of
  optimizers and schedules, best scores.
- ``prepare``: the cache must have the same files with the same content.
- ``predict``, ``mine``: the written file must have the same rows.

FOLDER keeps the references, and a line for each trial in ``trials.jsonl``: started again, the tool continues, and a
trial is the same whenever it is run. Only processes that the tool started are killed. A command that does not end
within a minute after a signal counts as hung.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch
import yaml

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PATIENCE_S = 60
"""Seconds that a command has to end after a signal."""
LONGEST_S = 300
"""Seconds of a command that nobody disturbs."""
MOST_KILLS = 3
"""Kills of a trial."""

TOWER = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, "dropout": 0.1}}
SETTINGS: dict[str, Any] = {
    "seed_everything": 1,
    "data": {
        "source": {"class_path": "Synthetic", "init_args": {"num_queries": 200, "num_candidates": 100}},
        "split": {"class_path": "PerQuery", "init_args": {"test": 0.2, "validation": 0.2}},
        "batch_size": 32,
        "query": [
            {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}},
            {"class_path": "History", "init_args": {"name": "history", "of": "candidate_id", "dropout": 0.2}},
        ],
        "candidate": [
            {"class_path": "Categorical", "init_args": {"name": "candidate_id"}},
            {"class_path": "HashedTrigrams", "init_args": {"name": "text", "num_buckets": 2000}},
        ],
    },
    "model": {
        "query_tower": TOWER,
        "candidate_tower": TOWER,
        "scorer": {"class_path": "Dot", "init_args": {"logit_scale": 10, "learnable": True}},
        "loss": "SampledSoftmax",
        "optimizer": {"class_path": "torch.optim.Adam", "init_args": {"lr": 0.003}},
        "lr_scheduler": {"class_path": "torch.optim.lr_scheduler.ExponentialLR", "init_args": {"gamma": 0.95}},
    },
    "trainer": {
        "accelerator": "cpu",
        "max_epochs": 8,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [
            {"class_path": "AveragedWeights", "init_args": {"decay": 0.9}},
            {
                "class_path": "ModelCheckpoint",
                "init_args": {"monitor": "val/mrr", "mode": "max", "save_top_k": 3, "filename": "{epoch}"},
            },
        ],
    },
    "checkpoint": {"monitor": "val/mrr"},
    "last": {"every_n_train_steps": 5},
}
PREPARED = {"num_queries": 3_000, "num_candidates": 1_000}
"""The data of ``prepare``, which take some seconds."""
TWO = ["--trainer.strategy=ddp", "--trainer.devices=2", "--data.batch_size=16"]


# -- what must be equal ------------------------------------------------------------------------------------------------


def digest(value: Any) -> str:
    """A digest of plain values and tensors."""
    if isinstance(value, torch.Tensor):
        dense = value.to_dense() if value.is_sparse else value
        value = [str(dense.dtype), list(dense.shape), dense.contiguous().numpy().tobytes().hex()]
    elif isinstance(value, dict):
        value = sorted((str(key), digest(each)) for key, each in value.items())
    elif isinstance(value, list | tuple):
        value = [digest(each) for each in value]
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def of_checkpoint(path: Path) -> dict[str, str]:
    """What a run that was interrupted must have in common with one that was not."""
    content = torch.load(path, weights_only=True, map_location="cpu")
    keys = ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step", "RetrievalDataModule")
    keys = (*keys, "rows_without_negatives", "negative_counts", "current_model_state", "averaging_state")
    found = {key: digest(content.get(key)) for key in keys}
    for name, state in content["callbacks"].items():
        if "best_model_score" in state:
            kept = {Path(file).name: score for file, score in state["best_k_models"].items()}
            found[f"kept by {name}"] = digest([state["best_model_score"], Path(state["best_model_path"]).name, kept])
    return found


def of_run(folder: Path) -> dict[str, Any]:
    """The checkpoints of the newest run."""
    runs = [path.parent for path in folder.glob("runs/*/version_*/checkpoints/last.ckpt")]
    newest = max(runs, key=lambda run: int(run.parent.name.removeprefix("version_")))
    return {path.name: of_checkpoint(path) for path in sorted(newest.glob("*.ckpt"))}


def of_cache(folder: Path) -> dict[str, Any]:
    """The files of all caches, and what else stands beside them."""
    files = [path for path in sorted((folder / "cache").rglob("*")) if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): digest(path.read_bytes().hex()) for path in files}


def of_table(name: str) -> Callable[[Path], dict[str, Any]]:
    """The rows of a written file, and that nothing stands beside it."""

    def found(folder: Path) -> dict[str, Any]:
        beside = [path.name for path in folder.iterdir() if path.name.startswith(f"{name}.tmp")]
        return {name: digest(pl.read_parquet(folder / name).write_json()), "left": beside}

    return found


class Kind(NamedTuple):
    """A command that is killed."""

    words: list[str]
    result: Callable[[Path], dict[str, Any]]
    needs_run: bool = False
    """It starts from a trained run, which every trial gets a copy of."""
    settings: dict[str, int] | None = None
    """The source's settings, if they are others."""


FIT = ["fit", "--config=kills.yaml", "--ckpt_path=last"]
KINDS = {
    "fit": Kind(FIT, of_run),
    "fit of two": Kind([*FIT, *TWO], of_run),
    "prepare": Kind(["fit", "--config=kills.yaml", "--trainer.fast_dev_run=true"], of_cache, settings=PREPARED),
    "predict": Kind(["predict", "--embeddings.output=out.parquet"], of_table("out.parquet"), needs_run=True),
    "mine": Kind(["mine", "--output=out.parquet", "--rank_range=[2, 20]"], of_table("out.parquet"), needs_run=True),
}


# -- processes ---------------------------------------------------------------------------------------------------------


def start(words: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """Start a command in a session of its own, so that all of its processes can be reached, and no other."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "dssm_lightning", *words],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )


def members(session: int) -> list[int]:
    """The running processes of a session, the first one first."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has just ended
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return sorted(found)


def wait_for_all(session: int, process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the end of a command and of all processes that it started; kill them if they do not end."""
    end = time.monotonic() + seconds
    try:
        while (running := process.poll() is None or bool(members(session))) and time.monotonic() < end:
            time.sleep(0.05)
    finally:  # also if this tool is interrupted
        for each in members(session):
            os.kill(each, signal.SIGKILL)
    process.wait()
    return not running


def undisturbed(words: list[str], folder: Path) -> float:
    """Run a command to its end; return the seconds.

    Raises:
        RuntimeError: it fails or does not end.
    """
    began = time.monotonic()
    process = start(words, folder)
    if not wait_for_all(process.pid, process, LONGEST_S) or process.returncode:
        raise RuntimeError(f"{' '.join(words)} in {folder} ended with {process.returncode}")
    return time.monotonic() - began


def kill(words: list[str], folder: Path, seconds: float, draw: random.Random) -> dict[str, Any] | None:
    """Start a command and send a signal; return what was done, or None if the command had ended before."""
    earliest = draw.choice([0, 0.5, 0.5]) * seconds  # imports take the first half
    after, number, to = draw.uniform(earliest, seconds), draw.choice(SIGNALS), draw.choice(["all", "first", "last"])
    process = start(words, folder)
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        found = members(process.pid)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    else:
        wait_for_all(process.pid, process, PATIENCE_S)
        return None
    for each in {"all": found, "first": found[:1], "last": found[-1:]}[to]:
        try:
            os.kill(each, number)
        except ProcessLookupError:
            continue
    ended = wait_for_all(process.pid, process, PATIENCE_S)
    return {"after": round(after, 2), "signal": number.name, "to": to, "status": process.returncode, "ended": ended}


# -- trials ------------------------------------------------------------------------------------------------------------


def make_folder(place: Path, kind: Kind, trained: Path | None) -> None:
    """Make a working folder with the config, and with the trained run that the command needs."""
    shutil.rmtree(place, ignore_errors=True)
    if trained is not None and kind.needs_run:
        shutil.copytree(trained, place, ignore=shutil.ignore_patterns("output.txt", "expected.json"))
        return
    place.mkdir(parents=True)
    settings = json.loads(json.dumps(SETTINGS))
    settings["data"]["source"]["init_args"] |= kind.settings or {}
    (place / "kills.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def reference(folder: Path, name: str) -> tuple[dict[str, Any], float]:
    """What the command gives undisturbed, and its seconds; computed once."""
    place = folder / "references" / name.replace(" ", "-")
    path = place / "expected.json"
    if not path.is_file():
        trained = folder / "references" / "fit"
        if KINDS[name].needs_run:
            reference(folder, "fit")
        make_folder(place, KINDS[name], trained)
        seconds = undisturbed(KINDS[name].words, place)
        path.write_text(json.dumps([KINDS[name].result(place), seconds]), encoding="utf-8")
    expected, seconds = json.loads(path.read_text(encoding="utf-8"))
    return expected, seconds


def trial(folder: Path, name: str, number: int, seed: int) -> dict[str, Any]:
    """Kill a command up to three times, let it end, and compare its result; a trial that is equal leaves nothing."""
    kind, (expected, seconds) = KINDS[name], reference(folder, name)
    draw = random.Random(f"{seed} {name} {number}")
    place = folder / "trials" / f"{name.replace(' ', '-')}-{number}"
    make_folder(place, kind, folder / "references" / "fit")
    kills = [done for _ in range(draw.randint(1, MOST_KILLS)) if (done := kill(kind.words, place, seconds, draw))]
    try:
        undisturbed(kind.words, place)
        found = kind.result(place)
        differing = sorted(key for key in expected | found if expected.get(key) != found.get(key))
    except Exception as error:  # whatever it is, it is what a user would meet
        differing = [f"{type(error).__name__}: {error}"]
    if not differing and all(each["ended"] for each in kills):
        shutil.rmtree(place)
    return {"kind": name, "number": number, "kills": kills, "differing": differing}


def run(folder: Path, kills: int, seed: int, kinds: list[str]) -> list[dict[str, Any]]:
    """Run trials, the kinds in turn, until there are enough kills; return those of earlier starts as well."""
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"trials-{seed}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    done = [json.loads(line) for line in lines if line.endswith("}")]
    number = max((each["number"] for each in done), default=0)
    while sum(len(each["kills"]) for each in done) < kills:
        ran = {each["kind"] for each in done if each["number"] == number}
        waiting = [name for name in kinds if name not in ran]
        if not waiting:
            number += 1
            continue
        done.append(trial(folder, waiting[0], number, seed))
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(json.dumps(done[-1]), flush=True)
    return done


def table(done: list[dict[str, Any]]) -> str:
    """A row for each kind: its trials, kills, and what went wrong."""
    rows = [f"{'kind':12} {'trials':>7} {'kills':>6} {'KILL':>5} {'TERM':>5} {'INT':>5} {'differing':>10} {'hung':>5}"]
    for name in [*dict.fromkeys(each["kind"] for each in done), "all"]:
        own = [each for each in done if name in (each["kind"], "all")]
        sent = [every for each in own for every in each["kills"]]
        by_signal = [sum(each["signal"] == number.name for each in sent) for number in SIGNALS]
        differing, hung = sum(bool(each["differing"]) for each in own), sum(not each["ended"] for each in sent)
        counts = "".join(f" {count:>5}" for count in by_signal)
        rows.append(f"{name:12} {len(own):>7} {len(sent):>6}{counts} {differing:>10} {hung:>5}")
    return "\n".join(rows)


def main(words: list[str] | None = None) -> int:
    """Run the trials and print the table; the status is 1 if a result differs or a command hung."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=list(KINDS), default=list(KINDS))
    options = parser.parse_args(words)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and not without ending what was started
        signal.signal(signal.SIGINT, signal.default_int_handler)  # commands ignore it if this tool does
    done = run(options.folder, options.kills, options.seed, options.only)
    print(table(done))
    return int(any(each["differing"] or not all(kill["ended"] for kill in each["kills"]) for each in done))


if __name__ == "__main__":
    sys.exit(main())
