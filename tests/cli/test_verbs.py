"""The command line from end to end: every verb on one small run."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
import yaml
from helpers.paths import EVERY_KIND, ROOT
from lightning.pytorch.cli import LightningCLI

from dssm_lightning import TwoTower
from dssm_lightning.cli.commands.registry import COMMANDS
from dssm_lightning.cli.main import main
from dssm_lightning.cli.trainer_verbs import ABOUT
from dssm_lightning.data.datamodule import RetrievalDataModule

CONFIG = EVERY_KIND
FIT = ["fit", "--config", str(CONFIG), "--trainer.max_epochs=2"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with one finished run; tests do not change it, or copy it."""
    place = tmp_path_factory.mktemp("cli")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("PL_GLOBAL_SEED", "0")
        main(FIT)
    return place


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


@pytest.fixture
def copy(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the working folder, which a test may change."""
    shutil.copytree(place, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def run(version: int = 0) -> Path:
    return Path("runs") / CONFIG.stem / f"version_{version}"


def last(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path / "checkpoints" / "last.ckpt", weights_only=True)
    return content


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def overlay(tmp_path: Path, **sections: Any) -> str:
    """A config that overrides settings of the first."""
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return str(path)


# -- the files of a run ------------------------------------------------------------------------------------------------


def test_a_fit_writes_its_run_folder(place: Path) -> None:
    found = {str(path.relative_to(place / run())) for path in (place / run()).rglob("*") if path.is_file()}
    assert {"config.yaml", "metrics.csv", "checkpoints/best.ckpt", "checkpoints/last.ckpt"} <= found
    assert [name for name in found if name.startswith("events.out.tfevents")]
    settings = yaml.safe_load((run() / "config.yaml").read_text(encoding="utf-8"))
    assert settings["trainer"]["max_epochs"] == 2
    assert settings["seed_everything"] == 3
    assert settings["model"]["scorer"]["class_path"] == "dssm_lightning.models.scorers.Dot"
    assert settings["data"]["split"]["class_path"] == "dssm_lightning.data.splits.PerQuery"
    logged = rows(run() / "metrics.csv")
    assert [float(row["train/loss"]) for row in logged if row["train/loss"]]
    assert len([row for row in logged if row["val/ndcg@10"]]) == 2


def test_every_checkpoint_is_plain_values(place: Path) -> None:
    for which in ("best", "last"):
        content = torch.load(run() / "checkpoints" / f"{which}.ckpt", weights_only=True)
        text = json.dumps(content["hyper_parameters"])  # nothing but plain values fits
        assert '"class_path": "dssm_lightning.Tower"' in text


def test_a_checkpoint_loads_without_data(place: Path) -> None:
    cli = main(["test"])
    model = TwoTower.load_from_checkpoint(run() / "checkpoints" / "best.ckpt", weights_only=True).eval()
    trained, data = cli.model.eval(), cli.datamodule
    assert model.schemas == data.schemas
    with torch.no_grad():
        for features in data.corpus_batches():
            assert torch.equal(model.encode_candidate(features), trained.encode_candidate(features))
        queries = data.assembler.query_features(torch.arange(120))
        assert torch.equal(model.encode_query(queries), trained.encode_query(queries))


def test_fit_ends_with_the_best_metrics_and_where_the_checkpoint_lies(
    copy: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    cli = main(FIT)
    shown = capsys.readouterr().out
    assert cli.run == run(1)  # another run of this name
    best = cli.trainer.checkpoint_callbacks[0]
    assert f"best val/ndcg@10: {float(best.best_model_score):.4f}" in shown
    assert f"checkpoint: {Path(best.best_model_path)}" in caplog.text
    assert f"{best.best_metrics['val/mrr']:.4f}" in shown


def test_the_seed_changes_the_run_but_not_the_split(copy: Path) -> None:
    same, other = main([*FIT, "--seed_everything=3"]), main([*FIT, "--seed_everything=4"])
    assert (same.run, other.run) == (run(1), run(2))
    weights = [last(run(number))["state_dict"] for number in range(3)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    tables = [name for name in weights[0] if name.endswith("table.weight")]
    assert len(tables) > 5
    assert not any(torch.equal(weights[0][name], weights[2][name]) for name in tables)
    first, second = same.datamodule, other.datamodule
    assert torch.equal(first.data.interactions.fold, second.data.interactions.fold)
    assert first.schemas == second.schemas
    assert len(list(Path("cache").glob("*/report.json"))) == 1
    assert [float(row["train/loss"]) for row in rows(run(0) / "metrics.csv") if row["train/loss"]] == [
        float(row["train/loss"]) for row in rows(run(1) / "metrics.csv") if row["train/loss"]
    ]


# -- measuring ---------------------------------------------------------------------------------------------------------


def test_main_returns_the_finished_cli(copy: Path) -> None:
    cli = main(["test"])  # the best of the newest run, with its own config
    assert isinstance(cli, LightningCLI)
    found = cli.trainer.callback_metrics
    assert 0 < float(found["test/recall@10"]) <= 1
    assert {"test/seen_kept/recall@10", "test/query_auroc", "test/mrr", "test/ndcg@10"} <= set(found)
    by_path = main(["test", "--ckpt_path", str(run() / "checkpoints" / "best.ckpt")])
    assert by_path.trainer.callback_metrics["test/mrr"] == found["test/mrr"]
    with_config = main(["test", "--config", str(CONFIG), "--ckpt_path=best"])
    assert with_config.trainer.callback_metrics["test/mrr"] == found["test/mrr"]


def test_metrics_json_is_flat_and_merged(copy: Path) -> None:
    tested = main(["test"]).trainer.callback_metrics
    first = json.loads((run() / "metrics.json").read_text(encoding="utf-8"))
    assert first == {name: pytest.approx(float(value)) for name, value in tested.items()}
    main(["validate"])
    both = json.loads((run() / "metrics.json").read_text(encoding="utf-8"))
    assert {name: both[name] for name in first} == first
    assert {name.partition("/")[0] for name in both} == {"test", "val"}
    assert not (copy / run(1)).exists()  # a test makes no run


def test_a_test_measures_slices_lists_intervals_and_each_query(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = main(["test"])
    metrics = json.loads((run() / "metrics.json").read_text(encoding="utf-8"))
    slices = {name.split("/")[1]: value for name, value in metrics.items() if name.endswith("/queries")}
    assert {"head", "middle", "tail"} <= set(slices)
    assert {"test/tail/recall@10", "test/coverage@10", "test/popularity@10", "test/gini@10"} <= set(metrics)
    assert {"test/novelty@1", "test/serendipity@10", "test/diversity@10"} <= set(metrics)
    assert "test/diversity@1" not in metrics
    frame = pl.read_parquet(run() / "per_query.parquet")
    assert set(frame["query_id"]) <= set(cli.datamodule.data.queries.to_series(0))
    assert frame["query_id"].n_unique() == len(frame)
    for name, mean in frame.select(pl.col(pl.Float32).cast(pl.Float64).mean()).row(0, named=True).items():
        assert mean == pytest.approx(metrics[f"test/{name}"], abs=1e-6)
    found = json.loads((run() / "intervals.json").read_text(encoding="utf-8"))
    assert set(found) == {f"test/{name}" for name in frame.columns[1:]}
    assert all(low <= metrics[name] <= high for name, (low, high) in found.items())
    low, high = found["test/ndcg@5"]
    shown = capsys.readouterr().out
    assert f"{low:.4f} – {high:.4f}" in shown
    assert "coverage" in shown
    assert "Test metric" not in shown  # Lightning's own table of the same metrics


def test_by_event_each_row_is_named_by_query_and_candidate(copy: Path) -> None:
    cli = main(["test", "--data.evaluate=event"])
    frame = pl.read_parquet(run() / "per_query.parquet")
    interactions = cli.datamodule.data.interactions
    rows = interactions.rows(2)  # test
    queries, candidates = cli.datamodule.data.queries.to_series(0), cli.datamodule.candidates.to_series(0)
    keys = queries[interactions.query[rows].numpy()], candidates[interactions.candidate[rows].numpy()]
    assert frame.columns[:2] == ["query_id", "candidate_id"]
    assert sorted(frame.select("query_id", "candidate_id").rows()) == sorted(zip(*keys, strict=True))


def test_two_tests_are_compared(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([*FIT, "--seed_everything=4"])
    for version in (0, 1):
        main(["test", "--ckpt_path", str(run(version) / "checkpoints" / "best.ckpt")])
    measured = [json.loads((run(version) / "metrics.json").read_text(encoding="utf-8")) for version in (0, 1)]
    capsys.readouterr()
    found = main(["compare", str(run(0)), str(run(1) / "checkpoints" / "best.ckpt"), "--json"])
    assert json.loads(capsys.readouterr().out)["queries"] > 50
    for each in found:
        assert (each.a, each.b) == pytest.approx([m[f"test/{each.metric}"] for m in measured], abs=1e-6)
        assert each.low <= each.high


def test_a_test_encodes_with_the_checkpoints_schema(copy: Path) -> None:
    grown = ["--data.source.init_args.num_queries=130", "--data.source.init_args.seed=9"]
    cli = main(["test", *grown])
    saved = TwoTower.load_from_checkpoint(run() / "checkpoints" / "best.ckpt", weights_only=True).schemas
    assert cli.datamodule.schemas == saved == cli.model.schemas
    assert len(cli.datamodule.data.queries) == 130


@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_nothing_is_measured_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"{verb} needs a trained model"):
        main([verb, "--config", str(CONFIG)])


@pytest.mark.parametrize("side", ["candidate", "query"])
def test_predict_writes_parquet(copy: Path, side: str, caplog: pytest.LogCaptureFixture) -> None:
    cli = main(["predict", "--data.predict", side, "--embeddings.output", f"{side}.parquet"])
    assert f"{side}.parquet" in caplog.text
    found = pl.read_parquet(f"{side}.parquet")
    table = cli.datamodule.candidates if side == "candidate" else cli.datamodule.data.queries
    assert found.columns == ["id", "vector"]
    assert found["id"].to_list() == table.to_series(0).to_list()
    assert found.schema["vector"] == pl.Array(pl.Float32, 17)  # 16, and the candidates' bias


# -- resuming ----------------------------------------------------------------------------------------------------------


def test_fit_goes_on_in_its_folder(copy: Path) -> None:
    before = rows(run() / "metrics.csv")
    settings = (run() / "config.yaml").read_text(encoding="utf-8")
    steps = last(run())["global_step"]
    cli = main([*FIT[:-1], "--trainer.max_epochs=3", "--ckpt_path=last"])
    assert cli.run is not None
    assert cli.run.resolve() == (copy / run()).resolve()
    assert not run(1).exists()
    assert last(run())["global_step"] == steps // 2 * 3
    assert rows(run() / "metrics.before-resume-1.csv") == before
    assert {int(row["epoch"]) for row in rows(run() / "metrics.csv")} == {2}
    assert (run() / "config.yaml").read_text(encoding="utf-8") == settings
    resumed = yaml.safe_load((run() / "config.resume-1.yaml").read_text(encoding="utf-8"))
    assert resumed["trainer"]["max_epochs"] == 3
    main([*FIT[:-1], "--trainer.max_epochs=4", "--ckpt_path=last"])
    assert (run() / "config.resume-2.yaml").is_file()
    assert rows(run() / "metrics.before-resume-1.csv") == before
    assert (run() / "metrics.before-resume-2.csv").is_file()


def test_without_a_last_a_fit_begins_a_new_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    main([*FIT, "--ckpt_path=last", "--trainer.max_epochs=1"])
    assert "--ckpt_path last: no run has such a checkpoint" in caplog.text
    assert last(run())["epoch"] == 0


def test_a_checkpoint_says_which_settings_it_overrides(copy: Path) -> None:
    asked = ["--model.scorer.init_args.logit_scale=3", "--trainer.max_epochs=3", "--ckpt_path=last"]
    with pytest.warns(
        UserWarning, match=r"the checkpoint's own model settings win.*ignored: .*scorer.*logit_scale 3.* \(it has 10"
    ):
        cli = main([*FIT, *asked])
    assert cli.config_init.fit.model.scorer is not None
    assert last(run())["hyper_parameters"]["scorer"]["init_args"]["logit_scale"] == 10


# -- the command line itself -------------------------------------------------------------------------------------------


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The error that a refused command line shows."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    assert stopped.value.code == 2
    return capsys.readouterr().err.partition("error: ")[2]


@pytest.mark.parametrize(
    ("option", "nearest"),
    [
        ("--data.batch_sze=3", "'data.batch_size'"),
        ("--trainer.max_epohcs=3", "'trainer.max_epochs'"),
        ("--modle.ks=[1]", "'model.ks'"),
        ("--model.loss=SampledSoftmx", "'SampledSoftmax'"),
        ("--data.source=Synthtic", "'Synthetic'"),
        ("--model.query_tower.init_args.hiden_dims=[3]", "'hidden_dims'"),
    ],
)
def test_unknown_names_on_the_command_line(capsys: pytest.CaptureFixture[str], option: str, nearest: str) -> None:
    assert f"did you mean {nearest}?" in fails(capsys, *FIT, option)


@pytest.mark.parametrize(
    ("sections", "nearest"),
    [
        ({"data": {"batch_sze": 3}}, "'data.batch_size'"),
        ({"modle": {"ks": [1]}}, "'model.ks'"),
        ({"checkpoint": {"moniter": "val/mrr"}}, "'checkpoint.monitor'"),
        (
            {"data": {"query": [{"class_path": "Numeric", "init_args": {"name": "size", "mising": "mean"}}]}},
            "'missing'",
        ),
        ({"data": {"query": [{"class_path": "Numerc", "init_args": {"name": "size"}}]}}, "'Numeric'"),
        ({"model": {"loss": {"class_path": "SampledSoftmax", "init_args": {"repeat": "count"}}}}, "'repeats'"),
        ({"data": {"split": {"class_path": "PerQery"}}}, "'PerQuery'"),
    ],
    ids=str,
)
def test_unknown_names_in_a_config(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, sections: dict[str, Any], nearest: str
) -> None:
    assert f"did you mean {nearest}?" in fails(capsys, *FIT, "--config", overlay(tmp_path, **sections))


@pytest.mark.parametrize("arguments", [[*FIT, "--ckpt", "last"], ["search", "--query", "x", "--ckpt_pat", "last"]])
def test_a_shortened_name_is_unknown(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    """Otherwise ``--ckpt last`` would silently begin a new run: the search for checkpoints reads whole names."""
    assert "did you mean 'ckpt_path'?" in fails(capsys, *arguments)


def test_an_error_does_not_hide_behind_all_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*FIT, "--data.batch_sze=3"])
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_fit_of_nothing_asks_for_a_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert "fit.data.source" in (message := fails(capsys, "fit"))
    assert "name the config that has them with --config" in message


def test_a_config_without_its_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert "name a config with --config my.yaml" in fails(capsys, "fit", "my.yaml")


def test_a_name_like_nothing_known_gets_no_advice(capsys: pytest.CaptureFixture[str]) -> None:
    message = fails(capsys, *FIT, "--qqqqqqqq=3")
    assert "qqqqqqqq" in message
    assert "did you mean" not in message


def test_unknown_commands_are_named() -> None:
    for arguments in (["fti"], ["fti", "--config", "x"], ["--config", str(CONFIG), "test"]):
        with pytest.raises(ValueError, match=f"'{arguments[0]}'.*fit, validate, test, predict, .*baseline, .*search"):
            main(arguments)
    with pytest.raises(ValueError, match=r"did you mean 'fit'\?"):
        main(["fti"])


def test_short_names_and_swapping_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*FIT, "--model.loss", "BPR", "--model.optimizer", "Adagrad", "--print_config"])
    assert stopped.value.code in (0, None)
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["loss"]["class_path"] == "dssm_lightning.losses.BPR"
    assert printed["model"]["optimizer"]["class_path"] == "torch.optim.Adagrad"
    assert printed["data"]["source"] == {
        "class_path": "dssm_lightning.data.sources.Synthetic",
        "init_args": {
            "num_queries": 120,
            "num_candidates": 80,
            "seed": 0,
            "labels": False,
            "weights": False,
            "likes": 6,
        },
    }
    path = tmp_path / "printed.yaml"
    path.write_text(yaml.safe_dump(printed), encoding="utf-8")
    main(["fit", "--config", str(path), "--trainer.fast_dev_run=1"])  # the printed config can be run


def test_adam_has_its_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    """A default class would leak its arguments of the same name: Adagrad's eps is 1e-10."""
    with pytest.raises(SystemExit):
        main([*FIT, "--print_config"])
    optimizer = yaml.safe_load(capsys.readouterr().out)["model"]["optimizer"]
    assert optimizer["class_path"] == "torch.optim.Adam"
    assert (optimizer["init_args"]["lr"], optimizer["init_args"]["eps"]) == (0.01, 1e-08)


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--help"], ["-h"], []):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert not stopped.value.code
        shown = capsys.readouterr().out
        for verb in (*ABOUT, *COMMANDS):
            assert f"\n{verb} " in shown


@pytest.mark.parametrize("verb", ["fit", "test", *COMMANDS])
def test_every_command_has_help_and_needs_no_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert not stopped.value.code
    shown = capsys.readouterr().out
    assert f"usage: dssm-lightning {verb}" in shown or f"{verb} [" in shown
    assert not list(tmp_path.iterdir())


def test_any_strategy_may_be_named() -> None:
    cli = main([*FIT, "--trainer.fast_dev_run=1", "--trainer.strategy=single_device"])
    assert type(cli.trainer.strategy).__name__ == "SingleDeviceStrategy"
    assert isinstance(cli.datamodule, RetrievalDataModule)


# -- as a process ------------------------------------------------------------------------------------------------------


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = ["timeout", "-k", "5", "120", sys.executable, "-m", "dssm_lightning", *arguments]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    return subprocess.run(line, capture_output=True, text=True, check=False, env=environment, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["fti"], "'fti'", marks=pytest.mark.slow),
        pytest.param(["test", "--ckpt_path", "no"], "--ckpt_path no", marks=pytest.mark.slow),
        (["fit", "--config", str(CONFIG), "--data.batch_size=0"], "batch_size is 0"),
    ],
)
def test_a_users_error_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert message in done.stderr
    assert done.stderr.rstrip().rpartition("\n")[2].startswith("error: ")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model.optimizer.init_args.lr=-1", r"model\.optimizer.*-1"),
        ("--trainer.devices=0", "devices 0"),
        ("--trainer.accelerator=cpux", "accelerator cpux"),
    ],
)
def test_settings_that_a_library_refuses_are_one_line(
    option: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dssm_lightning import __main__

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dssm-lightning", *FIT, option])
    with pytest.raises(SystemExit, match=f"^error: .*{message}") as stopped:  # without a traceback
        __main__.run()
    assert isinstance(stopped.value.code, str)
    assert len(stopped.value.code.splitlines()) == 1


def test_our_own_error_is_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from dssm_lightning import __main__
    from dssm_lightning.cli import main as cli_module

    def broken() -> None:
        int("x")  # raised outside the package, as by a library that we misuse

    monkeypatch.setattr(cli_module, "main", broken)
    with pytest.raises(ValueError, match="invalid literal"):
        __main__.run()


def test_a_full_disk_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from dssm_lightning import __main__
    from dssm_lightning.cli import main as cli_module

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli_module, "main", full)
    with pytest.raises(SystemExit, match=r"error: \[Errno 28\] No space left on device"):
        __main__.run()
