"""Every config in configs/ through ``main``, from another working folder; two processes compute the same as one."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest
import torch
import yaml
from helpers.paths import CONFIGS, EVERY_KIND, HELPERS

from dssm_lightning import TwoTower
from dssm_lightning.cli.main import main
from dssm_lightning.data.sources import Emoji

SHORT = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.limit_val_batches=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.accelerator=cpu",
]
OVERLAYS = {"ddp", "sharded", "multimodal-emoji"}
ELSEWHERE = {
    "emoji-styles",
    "files",
    "medquad",
    "multimodal",
}  # test_the_template_for_ones_own_data, test_multimodal.py, …


def names(kind: str) -> list[str]:
    alone = {path.stem for path in CONFIGS.glob("*.yaml")} - OVERLAYS - ELSEWHERE
    movielens = {name for name in alone if name.startswith("movielens")}
    return sorted(movielens if kind == "movielens" else alone - movielens)


@pytest.fixture(autouse=True)
def _every_parameter_learns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check in each step that every parameter has a gradient: DistributedDataParallel waits for all of them."""

    def check(model: TwoTower) -> None:
        resting = [name for name, value in model.named_parameters() if value.requires_grad and value.grad is None]
        assert not resting

    monkeypatch.setattr(TwoTower, "on_after_backward", check)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")


def runs_through(config: Path, *options: str) -> dict[str, float]:
    """Fit a few batches, test from the run folder alone, and return the content of metrics.json."""
    cli = main(["fit", "--config", str(config), *SHORT, *options])
    assert cli.run == Path("runs") / config.stem / "version_0"
    no_rows, assembler, model = torch.arange(0), cli.datamodule.assembler, cli.model.eval()  # of a process without rows
    assert len(model.encode_query(assembler.event_features(no_rows))) == 0
    assert len(model.encode_candidate(assembler.candidate_features(no_rows))) == 0
    tested = main(["test", "--trainer.limit_test_batches=1"])
    assert tested.datamodule.schemas == cli.datamodule.schemas
    found: dict[str, float] = json.loads((cli.run / "metrics.json").read_text(encoding="utf-8"))
    assert {"test/mrr", "test/query_auroc", "test/recall@10", "test/seen_kept/recall@10"} <= set(found)
    counted = {name for name in found if name.endswith("/queries") or "/popularity@" in name or "/novelty@" in name}
    assert all(found[name] >= 0 for name in counted)
    # all others are shares, or 1 − cos
    assert all(0 <= found[name] <= 1 + name.count("/diversity@") for name in found.keys() - counted)
    return found


def test_the_head_of_every_config_has_its_command() -> None:
    for path in CONFIGS.glob("*.yaml"):
        head = path.read_text(encoding="utf-8").partition("\nseed_everything")[0]
        assert "python -m dssm_lightning fit --config " in head, path.name
        assert str(Path.home()) not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", names("other"))
def test_configs_on_data_that_ships(name: str) -> None:
    runs_through(CONFIGS / f"{name}.yaml")


@pytest.mark.parametrize("name", names("movielens"))
def test_configs_on_movielens(name: str, movielens_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSSM_DATA", str(movielens_root.resolve()))
    runs_through(CONFIGS / f"{name}.yaml")


def test_the_config_of_medquad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file with the columns of MedQuAD."""
    kinds = ["What is (are) {} ?", "How to treat {} ?", "Who is at risk for {} ?"]
    pairs = [(kind.format(f"disease {n}"), f"{kind[:3]} {n}: disease {n}") for n in range(40) for kind in kinds]
    pairs_frame = pl.DataFrame(pairs, schema=["question", "answer"], orient="row")
    (tmp_path / "medquad").mkdir()
    pairs_frame.with_columns(focus=pl.lit("x"), qtype=pl.lit("y"), source=pl.lit("z")).write_ndjson(
        tmp_path / "medquad" / "qa.jsonl"
    )
    monkeypatch.setenv("DSSM_DATA", str(tmp_path))
    runs_through(CONFIGS / "medquad.yaml")


def test_the_config_of_emoji_in_two_styles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Noto's own pictures, in other colours, as the drawings."""
    folder = tmp_path / "emoji" / "twemoji64"
    folder.mkdir(parents=True)
    for row in Emoji().tables().candidates[::20].iter_rows(named=True):
        picture = PIL.Image.open(io.BytesIO(row["picture"])).convert("L").convert("RGBA")
        picture.save(folder / f"{row['unified'].lower()}.png")
    monkeypatch.setenv("DSSM_DATA", str(tmp_path))
    runs_through(CONFIGS / "emoji-styles.yaml", "--data.batch_size=16", "--trainer.check_val_every_n_epoch=1")


def test_the_template_for_ones_own_data(tmp_path: Path) -> None:
    """The files that its comments describe, with the flaws of real files: missing values, users of few events."""
    rng = np.random.default_rng(0)
    items = [f"i{number}" for number in range(60)]
    users = [f"u{number}" for number in range(40)]
    events = [(user, item) for user in users for item in rng.choice(items, 6, replace=False)]
    interactions = pl.DataFrame(events, schema=["user_id", "item_id"], orient="row")
    interactions.with_columns(timestamp=pl.int_range(pl.len())).write_csv("interactions.csv")
    pl.DataFrame(
        {"user_id": users, "country": ["FR", "DE"] * 20, "age": [None if i % 7 == 0 else 20 + i for i in range(40)]}
    ).write_csv("users.csv")
    pl.DataFrame(
        {
            "item_id": items,
            "title": [f"thing number {i}" for i in range(60)],
            "category": ["a", "b", "c"] * 20,
            "price": [None if i % 11 == 0 else i / 2 for i in range(60)],
        }
    ).write_csv("items.csv")
    runs_through(CONFIGS / "files.yaml")
    command = (CONFIGS / "files.yaml").read_text(encoding="utf-8").partition("search --query '")[2].partition("'")[0]
    query = {**json.loads(command), "history": ["i1", "i2"], "age": 30}
    [hits] = main(["search", "--query", json.dumps(query), "--k", "10"])
    assert len(hits) == 10
    assert set(hits[0].display) == {"title"}


@pytest.mark.parametrize(
    ("overlay", "strategy"),
    [
        ("ddp", "ddp"),
        (
            "sharded",
            {
                "class_path": "dssm_lightning.training.distributed.ShardedTables",
                "init_args": {"min_rows": 10000},
            },
        ),
    ],
)
def test_an_overlay_is_laid_over(
    overlay: str, strategy: str | dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["fit", "--config", str(EVERY_KIND), "--config", str(CONFIGS / f"{overlay}.yaml"), "--print_config"])
    settings: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    found = settings["trainer"]["strategy"]
    if isinstance(found, dict):
        found["init_args"] = {"min_rows": found["init_args"]["min_rows"]}
    assert (found, settings["trainer"]["devices"]) == (strategy, 2)
    assert settings["data"]["batch_size"] == 64


# -- two processes -----------------------------------------------------------------------------------------------------


def two_processes(tmp_path: Path, *arguments: str) -> None:
    """Run a command line with the overlay; kill the process group if it hangs."""
    soon = {"class_path": "lightning.pytorch.strategies.DDPStrategy", "init_args": {"timeout": "0:01:00"}}
    strategy = tmp_path / "soon.yaml"
    strategy.write_text(yaml.safe_dump({"trainer": {"strategy": soon}}), encoding="utf-8")
    configs = [option for path in (EVERY_KIND, CONFIGS / "ddp.yaml", strategy) for option in ("--config", str(path))]
    line = ["timeout", "-k", "5", "150", sys.executable, "-m", "dssm_lightning", arguments[0], *configs, *arguments[1:]]
    environment = {**os.environ, "PYTHONPATH": str(CONFIGS.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )
    try:
        output = process.communicate(timeout=160)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output


def by_two_processes(*lines: list[str]) -> None:
    """Run command lines in two processes."""
    environment = {**os.environ, "PYTHONPATH": f"{CONFIGS.parent}{os.pathsep}{HELPERS.parent}"}
    script = str(HELPERS / "commands_across_ranks.py")
    line = ["timeout", "-k", "5", "150", sys.executable, script, json.dumps(lines)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_two_processes_train_and_measure_as_one(tmp_path: Path) -> None:
    two_processes(tmp_path, "fit", "--trainer.max_epochs=2", "--data.batch_size=32")
    run = Path("runs") / EVERY_KIND.stem / "version_0"
    assert sorted(path.name for path in Path("runs").glob("*/*")) == ["version_0"]  # one run, not one for each process
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert len(list(Path("cache").glob("*/report.json"))) == 1
    over = ["--config", str(EVERY_KIND)]
    by_two_processes(["test", *over], ["predict", *over, "--embeddings.output=e.parquet"])
    by_two = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    rows_by_two = pl.read_parquet(run / "per_query.parquet")
    (run / "metrics.json").unlink()
    main(["test", "--config", str(EVERY_KIND)])
    by_one = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert by_one == {name: pytest.approx(value, rel=0, abs=1e-12) for name, value in by_two.items()}
    rows_by_one = pl.read_parquet(run / "per_query.parquet")
    assert rows_by_two["query_id"].to_list() == rows_by_one["query_id"].to_list()  # each once, in one order
    np.testing.assert_allclose(rows_by_two[:, 1:].to_numpy(), rows_by_one[:, 1:].to_numpy(), atol=1e-6)
    main(["predict", "--config", str(EVERY_KIND), "--embeddings.output", "whole.parquet"])
    parts = pl.concat([pl.read_parquet(f"e.{rank}.parquet") for rank in (0, 1)])
    whole = pl.read_parquet("whole.parquet")
    assert parts["id"].to_list() == whole["id"].to_list()
    np.testing.assert_allclose(parts["vector"].to_numpy(), whole["vector"].to_numpy(), atol=1e-5)
