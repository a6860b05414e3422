"""The data without a trainer: what a model passes in, and that nobody's columns are changed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from helpers.paths import ROOT

from dssm_lightning.data.interactions import TEST
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.data.splits import PerQuery
from dssm_lightning.features import Categorical, HashedWords, History, Image


def made(cache: Path, **changes: object) -> RetrievalData:
    settings = {
        "source": Synthetic(num_queries=60, num_candidates=40, labels=True),
        "query": [HashedWords(name="text", num_buckets=100)],
        "candidate": [Categorical(name="candidate_id"), Image(name="picture", size=8)],
        "split": PerQuery(test=0.2, validation=0.2),
        "batch_size": 16,
        "cache_dir": str(cache),
    }
    return RetrievalData(**{**settings, **changes})  # type: ignore[arg-type]


def test_it_needs_no_lightning() -> None:
    code = "import sys, dssm_lightning.data.retrieval_data; print('lightning' in sys.modules)"
    line = ["timeout", "-k", "5", "60", sys.executable, "-c", code]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout == "False\n"


def test_nothing_is_read_before_it_is_used(tmp_path: Path) -> None:
    data = made(tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
    assert data.num_candidates == 40
    assert data.folder.parent == tmp_path / "cache"


def test_given_schemas_encode(tmp_path: Path) -> None:
    """Those of a model that knows fewer candidates: its ids stay, and the others are unknown."""
    small = made(tmp_path, source=Synthetic(num_queries=60, num_candidates=30, labels=True))
    data = made(tmp_path)
    own = data.schemas
    assert own != small.schemas
    data.encode_with(small.schemas)
    assert data.schemas == small.schemas
    data.encode_with(None)
    assert data.schemas == small.schemas


def test_rows_of_label_0_train_unless_the_loss_has_no_use_for_them(tmp_path: Path) -> None:
    data = made(tmp_path)
    labels = data.data.interactions.label
    assert labels is not None
    every = data.assembler.rows
    assert (labels[every] == 0).any()
    data.train_on_liked_rows_only(True)
    assert len(data.assembler.rows) == int(labels[every].sum())
    data.train_on_liked_rows_only(False)
    assert torch.equal(data.assembler.rows, every)


def test_other_columns_take_the_place_of_the_encoded_ones(tmp_path: Path) -> None:
    history = History(name="history", of="candidate", order="leave_one_out")
    data = made(tmp_path, query=[HashedWords(name="text", num_buckets=100), history])
    before, assembler = data.data, data.assembler
    pictures = before.candidate["picture"]
    features = torch.arange(40.0)[:, None]
    assembler.replace_columns({"candidate": {"picture": features}})
    assert data.data.candidate["picture"] is before.candidate["picture"] is pictures
    assert assembler.inputs.candidate["picture"] is features
    found = assembler.candidate_features(torch.tensor([3]))["picture"]
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [[3.0]]
    items = assembler.query_features(torch.tensor([0]))["history"].items  # type: ignore[union-attr]
    assert isinstance(items, dict)
    picture = items["picture"]
    assert isinstance(picture, torch.Tensor)
    assert picture.is_floating_point()
    assembler.replace_columns({})  # the prepared ones again
    assert assembler.inputs.candidate["picture"] is pictures
    items = assembler.query_features(torch.tensor([0]))["history"].items  # type: ignore[union-attr]
    assert not items["picture"].is_floating_point()


def test_shares_are_whole_without_a_trainer(tmp_path: Path) -> None:
    data = made(tmp_path, source=Synthetic(num_queries=60, num_candidates=40))
    assert data.share == (0, 1)
    assert len(data.query_batches().numbers) == 60
    assert len(data.corpus_batches().numbers) == 40
    tested = data.data.interactions.rows(TEST)
    assert sum(len(batch.query_row) for batch in data.evaluation_batches(TEST)) == len(
        torch.unique(data.data.interactions.query[tested])
    )
