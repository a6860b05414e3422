"""An objective whose positives all have weight 0 is refused before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.shop import objectives, shop_data, shop_log
from helpers.small import small_model, small_trainer

from dssm_lightning import TwoTower
from dssm_lightning.data.sources import Frames
from dssm_lightning.utils.errors import UserError


def weighted(folder: Path, weight: pl.Expr) -> Any:
    log = shop_log().with_columns(weight=weight)
    return shop_data(folder, source=Frames(log, query_id="visitor", candidate_id="item", weight="weight"))


BOUGHT = pl.col("price") > 0


@pytest.mark.parametrize("loss", [objectives(buy="SampledSoftmax"), objectives("learned"), objectives(buy="BPR")])
def test_positives_of_weight_0_teach_nothing(tmp_path: Path, loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(*_: Any) -> None:
        raise AssertionError("a step was taken")

    monkeypatch.setattr(TwoTower, "training_step", trained)
    data = weighted(tmp_path, pl.when(BOUGHT).then(0.0).otherwise(2.0))
    data.prepare_data()
    data.setup()
    events = data.data.interactions
    count = int(((events.fold == 0) & events.objectives[:, 1]).sum())
    expected = rf"weights of all {count:,} training rows that are positives of objective 'buy' are 0.*weight column"
    with pytest.raises(UserError, match=expected):
        small_trainer(tmp_path).fit(small_model(loss=loss), data)


@pytest.mark.parametrize(
    ("loss", "weight"),
    [
        (objectives(click="SampledSoftmax"), pl.when(BOUGHT).then(0.0).otherwise(2.0)),  # buy is only measured
        (objectives(buy="SampledSoftmax"), pl.when(BOUGHT & (pl.col("visitor") % 2 == 0)).then(0.0).otherwise(2.0)),
    ],
)
def test_what_still_teaches_is_trained(tmp_path: Path, loss: Any, weight: pl.Expr) -> None:
    trainer = small_trainer(tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(small_model(loss=loss), weighted(tmp_path, weight))
    assert trainer.global_step == 1
