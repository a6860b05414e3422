"""Checkpoints and found configs of strangers: none of their code is imported or called, and each is one line."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers.hostile import MODULE, kinds, rewrite, write_module
from helpers.paths import GOLDEN
from lightning.pytorch.callbacks import ModelCheckpoint

from dssm_lightning import TwoTower, load_model, load_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.utils.errors import UserError

KINDS = sorted(kinds(Path("/tmp")))


def test_there_are_47_kinds() -> None:
    assert len(KINDS) == 47


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose checkpoint and config may be changed, with the hostile module within reach."""
    place = tmp_path / "runs" / "golden" / "version_0"
    shutil.copytree(GOLDEN / "0.1.0", place)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return place


@pytest.fixture
def checkpoint(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def checks(args: list[str]) -> Callable[[Path], Any]:
    return lambda path: main([*args, "--ckpt_path", str(path)])


def refused(load: Callable[[Path], Any], path: Path) -> str:
    """Load, and return the message, or an empty one: a loader may ignore settings that it has no use for."""
    try:
        load(path)
    except (UserError, SystemExit) as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", KINDS)
def test_load_from_checkpoint_runs_nothing_hostile(kind: str, checkpoint: Path, tmp_path: Path) -> None:
    mark = write_module(tmp_path)
    rewrite(checkpoint, kinds(tmp_path)[kind])
    message = refused(lambda path: TwoTower.load_from_checkpoint(path, weights_only=True), checkpoint)
    assert not mark.exists()
    assert MODULE not in sys.modules
    assert str(checkpoint) in message


@pytest.mark.slow
@pytest.mark.parametrize("loader", [load_retriever, checks(["test"])], ids=["load_retriever", "test"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_loaders_run_nothing_hostile(
    kind: str, loader: Callable[[Path], Any], checkpoint: Path, tmp_path: Path
) -> None:
    mark = write_module(tmp_path)
    rewrite(checkpoint, kinds(tmp_path)[kind])
    refused(loader, checkpoint)
    assert not mark.exists()
    assert MODULE not in sys.modules


SCORE = {"query": {"text": "a"}, "positive_doc": {"text": "a"}, "negative_docs": []}
COMMANDS = [
    *(["validate"], ["test"], ["predict"], ["fit"], ["search", "--query", "a"], ["summary"], ["mine"]),
    ["score", "--input", "score.json"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: str(words[0]))
def test_every_command_refuses(words: list[str], checkpoint: Path, tmp_path: Path) -> None:
    mark = write_module(tmp_path)
    Path("score.json").write_text(json.dumps(SCORE), encoding="utf-8")
    rewrite(checkpoint, kinds(tmp_path)["query_tower: function"])
    with pytest.raises(UserError, match=rf"last\.ckpt names {MODULE}\.run.*--trust {MODULE}"):
        checks(words)(checkpoint)
    assert not mark.exists()


@pytest.mark.parametrize("words", [["validate"], ["search", "--query", "a"]], ids=["validate", "search"])
@pytest.mark.parametrize("form", ["class_path", "bare"])
def test_a_found_config_names_nothing_of_strangers(form: str, words: list[str], run: Path, tmp_path: Path) -> None:
    mark = write_module(tmp_path)
    config = run / "config.yaml"
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    settings["data"]["source"] = f"{MODULE}.run" if form == "bare" else {"class_path": f"{MODULE}.run"}
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises((UserError, SystemExit)):
        checks(words)(run / "checkpoints" / "last.ckpt")
    assert not mark.exists()
    assert MODULE not in sys.modules


def test_the_callbacks_of_a_found_config_are_refused_as_well(run: Path, tmp_path: Path) -> None:
    mark = write_module(tmp_path)
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    settings["trainer"]["callbacks"] = [{"class_path": f"{MODULE}.Loss"}]
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    with pytest.raises(UserError, match=rf"config\.yaml names {MODULE}\.Loss"):
        checks(["test"])(run / "checkpoints" / "last.ckpt")
    assert not mark.exists()


OWN = """
from dssm_lightning.losses import SampledSoftmax

class Own(SampledSoftmax):
    pass
"""


def test_modules_of_ones_own_are_trusted_by_name(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "own_shop.py").write_text(OWN, encoding="utf-8")
    rewrite(checkpoint, lambda settings: settings.update(loss={"class_path": "own_shop.Own"}))
    try:
        with pytest.raises(UserError, match=r"own_shop\.Own.*--trust own_shop"):
            TwoTower.load_from_checkpoint(checkpoint, weights_only=True)
        loaded = TwoTower.load_from_checkpoint(checkpoint, weights_only=True, trust=["own_shop"])
        assert type(loaded.loss).__name__ == "Own"
        again = TwoTower.load_from_checkpoint(checkpoint, weights_only=True)  # imported by now
        assert type(again.loss).__name__ == "Own"
        with pytest.warns(UserWarning, match=r"own_shop\.Own"):  # the config beside it names another loss
            main(["validate", "--ckpt_path", str(checkpoint), "--trust", "own_shop"])
    finally:
        sys.modules.pop("own_shop", None)


def test_what_is_trusted_ends_with_the_command(checkpoint: Path, tmp_path: Path) -> None:
    mark = write_module(tmp_path)
    main(["summary", "--ckpt_path", str(checkpoint), f"--trust={MODULE}"])
    rewrite(checkpoint, kinds(tmp_path)["loss: function"])
    with pytest.raises(UserError, match=f"{MODULE}.run"):
        main(["summary", "--ckpt_path", str(checkpoint)])
    assert not mark.exists()
    with pytest.raises(UserError, match=r"trust 'my shop'"):
        load_model(checkpoint, trust=["my shop"])


# -- sizes and damage -------------------------------------------------------------------------------------------------


def rewrite_content(path: Path, **changes: Any) -> None:
    content = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in {**content, **changes}.items() if value is not None}, path)


def loop() -> list[Any]:
    values: list[Any] = []
    values.append(values)
    return values


def doubled() -> list[Any]:
    """Thirty lists that each hold the one before twice: 2^30 values in a few bytes."""
    values: list[Any] = ["x"]
    for _ in range(30):
        values = [values, values]
    return values


DAMAGE: dict[str, tuple[dict[str, Any], str]] = {
    "no schemas": ({"schemas": None}, "holds no schemas"),
    "schemas of another type": ({"schemas": 7}, "schemas are int"),
    "schemas cut off": ({"schemas": '{"version": 1, "query": ['}, "schemas are damaged"),
    "schemas of no features": ({"schemas": '{"version": 1, "query": 5, "candidate": []}'}, "schemas are damaged"),
    "schemas of a later release": ({"schemas": '{"version": 99, "query": [], "candidate": []}'}, "version 99"),
    "schemas nested deeply": ({"schemas": "[" * 100_000}, "schemas are damaged"),
    "no weights": ({"state_dict": None}, "no state_dict"),
    "weights that are none": ({"state_dict": {"a": 3}}, "state_dict must map names to tensors"),
    "settings that are none": ({"hyper_parameters": 3}, "hyper_parameters are int"),
    "settings in themselves": ({"hyper_parameters": {"loss": loop()}}, "nested deeper than 50"),
    "settings without end": ({"hyper_parameters": {"loss": doubled()}}, "more than 1,000,000 values"),
    "repeated bytes": ({"state_dict": {"a": torch.zeros(1).expand(10**12)}}, r"shape \(1000000000000,\)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line(damage: str, checkpoint: Path) -> None:
    changes, message = DAMAGE[damage]
    rewrite_content(checkpoint, **changes)
    for load in (TwoTower.load_from_checkpoint, load_model, checks(["test"])):
        with pytest.raises(UserError, match=message) as caught:
            load(checkpoint)
        assert str(caught.value).count("\n") == 0


def test_a_compressed_archive_is_not_unpacked(checkpoint: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.ckpt"
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    with pytest.raises(UserError, match=r"bomb\.ckpt is a compressed archive"):
        load_model(bomb)


@pytest.mark.parametrize(
    ("value", "name"),
    [(bytearray(10), "bytearray"), (b"\xff", "_codecs.encode"), (torch.Size([3]), "torch.Size")],
    ids=["bytearray", "bytes", "Size"],
)
def test_calls_that_can_fill_the_memory_are_not_made(value: Any, name: str, tmp_path: Path) -> None:
    path = tmp_path / "bytes.ckpt"
    torch.save({"schemas": value}, path)
    with pytest.raises(UserError, match=rf"bytes\.ckpt holds {name}|bytes\.ckpt holds \w+\.{name}"):
        load_model(path)


def test_what_stands_before_an_archive_is_not_read(checkpoint: Path, tmp_path: Path) -> None:
    both = tmp_path / "both.ckpt"
    both.write_bytes(b"\x80\x02}." + checkpoint.read_bytes())
    for load in (load_model, TwoTower.load_from_checkpoint):
        with pytest.raises(UserError, match=r"both\.ckpt cannot be read"):
            load(both)


def test_many_weights_of_the_same_bytes_are_refused(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    base = torch.zeros(100_000)
    weights = {**content["state_dict"], **{f"w{n}": base[n:] for n in range(30)}}
    rewrite_content(checkpoint, state_dict=weights)
    with pytest.raises(UserError, match="fewer bytes than values"):
        load_model(checkpoint)


def test_texts_that_take_the_parser_hours_are_refused(checkpoint: Path) -> None:
    rewrite(checkpoint, lambda settings: settings.update(scorer="1" + ":1" * 20_000))
    with pytest.raises(UserError, match="a text of more than 10,000 characters"):
        load_model(checkpoint)


@pytest.mark.parametrize("key", ["hparams", "module_arguments"])
def test_settings_of_old_lightning_are_not_read(key: str, checkpoint: Path) -> None:
    settings = torch.load(checkpoint, weights_only=True)["hyper_parameters"]
    rewrite_content(checkpoint, hyper_parameters={}, **{key: settings})
    with pytest.raises(UserError, match=f"holds {key}"):
        TwoTower.load_from_checkpoint(checkpoint)


def test_a_checkpoint_deletes_nothing_outside_of_its_folder(run: Path, checkpoint: Path, tmp_path: Path) -> None:
    """Lightning deletes what a ModelCheckpoint remembers as worse, whole folders too."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "diary.txt").write_text("dear diary", encoding="utf-8")
    kept = tmp_path / "kept"
    callback = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {"dirpath": str(kept), "monitor": "val/ndcg@10", "mode": "max", "save_top_k": 1},
    }
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    settings["trainer"]["max_epochs"] = 3
    settings["trainer"]["callbacks"].append(callback)
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    key = ModelCheckpoint(str(kept), monitor="val/ndcg@10", mode="max").state_key
    for bad in (f"{kept}/../victim", f"local://{victim}", str(victim)):
        worst = torch.tensor(-9.0)
        state = {"monitor": "val/ndcg@10", "dirpath": str(kept), "best_model_score": worst, "best_model_path": bad}
        state |= {"best_k_models": {bad: worst}, "kth_best_model_path": bad, "kth_value": worst, "last_model_path": bad}
        content = torch.load(checkpoint, weights_only=True)
        rewrite_content(checkpoint, callbacks={**content["callbacks"], key: state})
        main(["fit", "--ckpt_path", str(checkpoint)])
        assert (victim / "diary.txt").is_file()
    assert [path.suffix for path in kept.iterdir()] == [".ckpt"]


def test_a_found_config_unpickles_nothing(run: Path, checkpoint: Path) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    (run / "config.yaml").write_text(yaml.safe_dump({**settings, "weights_only": False}), encoding="utf-8")
    with pytest.raises(UserError, match="weights_only: false"):
        checks(["validate"])(checkpoint)


SIDES = ("query", "candidate")
HUGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "width": lambda settings: [settings[f"{side}_tower"]["init_args"].update(output_dim=10**12) for side in SIDES],
    "layers": lambda settings: settings["query_tower"]["init_args"].update(hidden_dims=[8] * 400),
    "list": lambda settings: settings["query_tower"]["init_args"].update(hidden_dims=[8] * 100_000),
}


def test_a_memory_that_the_file_does_not_hold_takes_none(checkpoint: Path) -> None:
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    without = {key: value for key, value in weights.items() if not key.startswith("memory.")}
    rewrite_content(checkpoint, state_dict=without)
    rewrite(checkpoint, lambda settings: settings.update(memory_size=10**9))
    for load in (TwoTower.load_from_checkpoint, checks(["test"])):
        with pytest.raises(UserError, match=r"memory_size is 1000000000, .* 0 rows"):
            load(checkpoint)


def test_sizes_that_the_found_config_adds_are_checked_as_well(run: Path, checkpoint: Path) -> None:
    settings = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    for side in SIDES:
        settings["model"][f"{side}_tower"]["init_args"]["output_dim"] = 10**12
    (run / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    rewrite(checkpoint, lambda settings: [settings.pop(f"{side}_tower") for side in SIDES])
    with pytest.raises(UserError, match="by its settings"):
        checks(["test"])(checkpoint)


@pytest.mark.parametrize("size", HUGE)
def test_settings_of_a_huge_model_take_no_memory(size: str, checkpoint: Path) -> None:
    rewrite(checkpoint, HUGE[size])
    for load in (TwoTower.load_from_checkpoint, load_model, checks(["test"])):
        with pytest.raises(UserError, match=r"by its settings|than it has weights for|more than 2,000 values"):
            load(checkpoint)


def test_a_huge_table_takes_no_memory(checkpoint: Path) -> None:
    """Of as many buckets as a feature may have, and as many numbers: 8 PB."""
    schemas = json.loads(torch.load(checkpoint, weights_only=True)["schemas"])
    [feature] = [each for each in schemas["query"] if each["name"] == "text_trigrams"]
    feature["num_buckets"] = rows = 2**31 - 1
    rewrite_content(checkpoint, schemas=json.dumps(schemas))
    rewrite(
        checkpoint,
        lambda settings: settings["query_tower"]["init_args"]["encoders"]["text_trigrams"]["init_args"].update(
            output_dim=10**6
        ),
    )
    for load in (TwoTower.load_from_checkpoint, load_model, checks(["test"])):
        with pytest.raises(UserError, match=rf"text_trigrams\.table.* is \({rows}, 1000000\) by its settings"):
            load(checkpoint)
