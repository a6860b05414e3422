"""The numbers of negatives and of masked positives: counted, kept over a stop, and without an effect on training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.resuming import Stop, StopAt
from helpers.small import small_data, small_model, small_trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning.data.batch import Batch, Candidates
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.evaluation import embedding_geometry
from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.models.scorers import Dot
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.candidate_pool import Pool
from dssm_lightning.training.negative_counts import NegativeCounts
from dssm_lightning.training.objective import per_query_loss
from dssm_lightning.utils.ragged import Ragged

CPU = torch.device("cpu")


def counted(negatives: torch.Tensor | None, known: Ragged | None, chunk_size: int | None) -> dict[str, float]:
    """Three rows against four candidates."""
    ids = torch.tensor([2, 4, 6, 8])
    candidates = Candidates({}, ids, torch.ones(4), torch.zeros(4))
    target = torch.tensor([0, 1, 2])
    batch = Batch({}, candidates, target, negatives, known, label=None, weight=None, row=torch.arange(3))
    pool, counts = Pool(torch.randn(4, 5), ids, candidates.count, candidates.log_q), NegativeCounts()
    options: dict[str, Any] = {"gather": False, "chunk_size": chunk_size, "counts": counts}
    per_query_loss(batch, torch.randn(3, 5), pool, Dot(), SampledSoftmax(), **options)
    assert counts.means(CPU) == {}, "a batch counts after its optimizer step"
    counts.commit()
    return counts.means(CPU)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_by_hand(chunk_size: int | None) -> None:
    assert counted(None, None, chunk_size) == {"train/negatives": 3, "train/masked_positives": 0}
    known = Ragged.from_lengths(torch.tensor([2, 6, 8, 5, 8]), torch.tensor([3, 1, 1]))  # 2 is the target, 5 not here
    assert counted(None, known, chunk_size) == {"train/negatives": (1 + 3 + 2) / 3, "train/masked_positives": 1}
    own = torch.tensor([[1, 2], [-1, 3], [3, 3]])  # two, one, and one that is named twice
    found = counted(own, known, chunk_size)
    assert found == pytest.approx({"train/negatives": (1 + 1 + 0) / 3, "train/masked_positives": (1 + 0 + 1) / 3})


@pytest.mark.filterwarnings("ignore:.*exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_resumed_epoch_has_the_means_of_all_its_rows(tmp_path: Path) -> None:
    def run(folder: str, ckpt_path: Path | None = None, *also: Callback) -> dict[str, Any]:
        place = tmp_path / folder
        torch.manual_seed(0)
        trainer = small_trainer(place, callbacks=[*also, LastCheckpoint()], enable_checkpointing=True)
        data = small_data(tmp_path / "cache", batch_size=16)
        trainer.fit(small_model(), datamodule=data, ckpt_path=ckpt_path, weights_only=True)
        return dict(trainer.callback_metrics)

    names = ("train/negatives", "train/masked_positives", "train/logit_scale", "val/alignment")
    whole = run("whole")
    with pytest.raises(Stop):
        run("stopped", None, StopAt("on_before_optimizer_step", 3))
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["negative_counts"][0] == 2 * 16
    resumed = run("stopped", last)
    assert {name: float(resumed[name]) for name in names} == {name: float(whole[name]) for name in names}


def test_a_checkpoint_of_an_earlier_release_starts_from_nothing() -> None:
    counts = NegativeCounts()
    counts.hold(torch.tensor([3]), 3)
    counts.commit()
    counts.restart({})
    assert counts.totals(CPU) == [0, 0, 0, 0]
    counts.restart({"negative_counts": [2, 5, 6]})
    assert counts.totals(CPU) == [2, 5, 6, 0]


def test_what_is_measured_changes_no_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(name: str) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        model = small_model()
        small_trainer(tmp_path / name, max_epochs=2).fit(model, datamodule=small_data(tmp_path / "cache"))
        return model.state_dict()

    with_measures = trained("with")
    monkeypatch.setattr(NegativeCounts, "hold", lambda *_: None)
    monkeypatch.setattr(embedding_geometry.EmbeddingGeometry, "add", lambda *_: None)
    monkeypatch.setattr(embedding_geometry.EmbeddingGeometry, "compute", lambda *_: {})
    without = trained("without")
    assert all(torch.equal(value, without[name]) for name, value in with_measures.items())


def test_a_model_that_learns_aligns(tmp_path: Path) -> None:
    data = small_data(tmp_path, source=Synthetic(num_queries=200, num_candidates=60))
    found: list[float] = []

    class Kept(Callback):
        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            found.append(float(trainer.callback_metrics["val/alignment"]))

    small_trainer(tmp_path, max_epochs=4, callbacks=[Kept()]).fit(small_model(), datamodule=data)
    assert found[-1] < found[0]
