"""Names of earlier releases mean those of today."""

from __future__ import annotations

from importlib import import_module

import pytest

from dssm_lightning.utils.renamed import PREFIXES, renew, renew_argument, renew_path


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("dssm_lightning.encoders.BiLSTM", "dssm_lightning.models.encoders.BiLSTM"),
        ("dssm_lightning.encoders.recurrent.BiLSTM", "dssm_lightning.models.encoders.BiLSTM"),
        ("dssm_lightning.fusion.Sum", "dssm_lightning.models.fusion.Sum"),
        ("dssm_lightning.fusion.plain.Concat", "dssm_lightning.models.fusion.Concat"),
        ("dssm_lightning.scorers.heads.MultiHeadDot", "dssm_lightning.models.scorers.MultiHeadDot"),
        ("dssm_lightning.towers.Tower", "dssm_lightning.models.tower.Tower"),
        ("dssm_lightning.losses.hard.WARP", "dssm_lightning.losses.WARP"),
        ("dssm_lightning.features.trigrams.Trigrams", "dssm_lightning.features.Trigrams"),
        ("dssm_lightning.features.text.HashedNgrams", "dssm_lightning.features.HashedNgrams"),
        ("dssm_lightning.data.negatives.named.FromColumn", "dssm_lightning.data.negatives.FromColumn"),
        (
            "dssm_lightning.data.frequency.StreamingFrequency",
            "dssm_lightning.data.negatives.frequency.StreamingFrequency",
        ),
        ("dssm_lightning.schedules.WarmUp", "dssm_lightning.training.optimizers.WarmUp"),
        ("dssm_lightning.optimizers.rows.LazyAdam", "dssm_lightning.training.optimizers.LazyAdam"),
        ("dssm_lightning.averaging.AveragedWeights", "dssm_lightning.training.callbacks.AveragedWeights"),
        ("dssm_lightning.sharded.ShardedTables", "dssm_lightning.training.distributed.ShardedTables"),
    ],
)
def test_a_class_path_of_0_1_0_names_a_class_of_today(old: str, new: str) -> None:
    assert renew_path(old) == new
    module, _, name = new.rpartition(".")
    assert isinstance(getattr(import_module(module), name), type)


@pytest.mark.parametrize("path", ["dssm_lightning.Tower", "dssm_lightning.losses.BPR", "torch.optim.Adam", "my.Mine"])
def test_any_other_path_stays(path: str) -> None:
    assert renew_path(path) == path
    assert renew({"class_path": path}) == {"class_path": path}


def test_no_old_prefix_is_a_module_of_today() -> None:
    for old in PREFIXES:
        with pytest.raises(ModuleNotFoundError):
            import_module(old)


def test_options_are_renamed_where_they_belong_and_the_given_settings_stay() -> None:
    given = {
        "data": {"tell_apart": ["lang"], "query": [{"class_path": "my.Feature", "init_args": {"apart": 1}}]},
        "model": {"query_tower": {"class_path": "dssm_lightning.Tower", "init_args": {"apart": ["id"]}}},
    }
    found = renew(given)
    assert found["data"] == {"slice_by": ["lang"], "query": [{"class_path": "my.Feature", "init_args": {"apart": 1}}]}
    assert found["model"]["query_tower"]["init_args"] == {"bypass": ["id"]}
    assert "tell_apart" in given["data"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--data.tell_apart=[a]", "--data.slice_by=[a]"),
        ("--model.query_tower.init_args.apart", "--model.query_tower.init_args.bypass"),
        ("--trainer.max_epochs=1", "--trainer.max_epochs=1"),
        ("apart", "apart"),
    ],
)
def test_options_of_the_command_line(old: str, new: str) -> None:
    assert renew_argument(old) == new
