"""Run `init`, `fit` and `test`, with nothing edited, on small data sets of different kinds, and print one table.

    DSSM_DATA=FOLDER python scripts/first_hour.py              # all data sets, into first_hour/
    DSSM_DATA=FOLDER python scripts/first_hour.py films tasks  # some of them

The model is compared with the best baseline, query by query, by the metric that chose the epoch: "ahead" and "behind"
mean that the 95 % interval of the difference leaves out 0. Seconds are of the processor, from the files to the numbers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import yaml
from first_hour_data import MAKERS

from dssm_lightning.evaluation.paired_comparison import pair_rows, paired_differences

LIMIT = 1_800
"""Seconds after which a command is given up."""


def run(folder: Path, *words: str) -> str:
    """Run a command in a folder, and return what it shows.

    Raises:
        RuntimeError: it fails.
    """
    line = [sys.executable, "-m", "dssm_lightning", *words]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, timeout=LIMIT, check=False)
    (folder / f"{words[0]}.txt").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise RuntimeError(f"{folder}: {' '.join(words)}\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def compare(run_folder: Path, metric: str) -> tuple[str, float, float, str]:
    """Return the best baseline, the metric of the model and of the baseline, and how the model stands to it."""
    rows = pl.read_parquet(run_folder / "per_query.parquet")
    found = []
    for path in sorted(run_folder.glob("per_query.*.parquet")):
        name = path.name.removeprefix("per_query.").removesuffix(".parquet")
        if name == "hybrid":
            continue
        paired = pair_rows(pl.read_parquet(path), rows, (name, "the model"))
        [difference] = [each for each in paired_differences(paired) if each.metric == metric]
        found.append((difference.a, name, difference))
    value, name, difference = max(found)
    state = "ahead" if difference.low > 0 else "behind" if difference.high < 0 else "level"
    return name, difference.b, value, f"{state} ({difference.low:+.3f} – {difference.high:+.3f})"


def measure(name: str, root: Path, data: Path) -> str:
    """Make a data set, run the three commands on it, and return its line of the table."""
    maker, kind, _ = MAKERS[name]
    folder = root / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = maker(folder, data)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(folder, "init", *words, "--output", f"{name}.yaml")
    run(folder, "fit", "--config", f"{name}.yaml")
    run(folder, "test", "--config", f"{name}.yaml")
    run_folder = sorted((folder / "runs" / name).glob("version_*"))[-1]
    if not list(run_folder.glob("per_query.*.parquet")):
        run(folder, "baseline", "--config", f"{name}.yaml")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    metric = yaml.safe_load((folder / f"{name}.yaml").read_text())["checkpoint"]["monitor"].removeprefix("val/")
    best, ours, theirs, state = compare(run_folder, metric)
    numbers = {"metric": metric, "model": ours, "baseline": best, "value": theirs, "state": state, "seconds": seconds}
    (folder / "first_hour.json").write_text(json.dumps(numbers, indent=1))
    return f"| {name}: {kind} | {metric} | **{ours:.3f}** | {theirs:.3f} {best} | {state} | {seconds:.0f} |"


def main() -> None:
    """Measure the data sets that are named, or all that the public data allow."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[[], *MAKERS], help="data sets; none = all")
    parser.add_argument("--root", type=Path, default=Path("first_hour"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DSSM_DATA", "data")))
    given = parser.parse_args()
    lines = ["| data set | metric | model | best baseline | difference, 95 % | seconds |", "|---|---|---|---|---|---|"]
    for name in given.names or MAKERS:
        need = MAKERS[name][2]
        if need is not None and not (given.data / need).is_dir():
            lines.append(f"| {name} | | | | left out: no {given.data / need} | |")
            continue
        lines.append(measure(name, given.root, given.data))
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
    sys.stdout.write("\n" + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
