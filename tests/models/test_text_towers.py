"""All kinds of text features with their encoders in one model: trained, saved, and loaded without data or files."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from helpers.small import LOSS, SCORER, small_data, small_model, small_trainer
from safetensors.numpy import save_file

from dssm_lightning import TwoTower
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.features import (
    BagOfWordsRandomProjection,
    HashedTrigrams,
    LikedBy,
    Tokens,
    Trigrams,
    Words,
    WordTrigrams,
)
from dssm_lightning.utils.ragged import take_features

QUERY_ENCODERS = {
    "convolved": {"class_path": "ConvTrigrams", "init_args": {"output_dim": 12, "sparse": True}},
    "attended": {"class_path": "AttentionPooling", "init_args": {"output_dim": 10}},
    "read": {"class_path": "BiLSTM", "init_args": {"num_layers": 2, "hidden_dim": 6, "pooling": "last"}},
    "projected": {"class_path": "Linear", "init_args": {"output_dim": 8}},
    "given": "WordVectors",
}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Vectors for the words of half of the queries."""
    texts = Synthetic(num_queries=60, num_candidates=40).tables().queries
    assert texts is not None
    words = sorted({word for text in texts["text"][:30] for word in text.split()})
    save_file(
        {"v": np.eye(len(words), 5, dtype=np.float32)},
        path := tmp_path / "words.safetensors",
        metadata={"words": json.dumps(words)},
    )
    return path


def test_the_model_trains_and_its_checkpoint_gives_the_same_embeddings(tmp_path: Path, table: Path) -> None:
    query = [
        WordTrigrams(name="convolved", column="text", num_buckets=300),
        Trigrams(name="trigrams", column="text", min_frequency=2),
        HashedTrigrams(name="mixed", column="text", num_buckets=300, max_word_n=2),
        Words(name="attended", column="text"),
        Tokens(name="read", column="text", vocab_size=100),
        BagOfWordsRandomProjection(name="projected", column="text", dimension=20, seed=3),
        Words(name="given", column="text", vectors=str(table)),
    ]
    asked = LikedBy(name="asked", of="attended", dropout=0.2, max_length=3)
    data = small_data(tmp_path / "cache", query=query, candidate=[Trigrams(name="text"), asked])
    tower = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16, "encoders": QUERY_ENCODERS}}
    page = {
        "class_path": "Tower",
        "init_args": {"fusion": {"class_path": "Sum", "init_args": {"activation": "Tanh"}}, "output_dim": 16},
    }
    adam = {"class_path": "LazyAdam", "init_args": {"lr": 0.01}}
    model = small_model(query_tower=tower, candidate_tower=page, scorer=SCORER, loss=LOSS, optimizer=adam)
    trainer = small_trainer(tmp_path, max_epochs=3)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["train/loss"] < 3.0  # log 32 = 3.5 without learning
    trainer.save_checkpoint(tmp_path / "m.ckpt")
    table.unlink()
    with pytest.warns(UserWarning, match=r"'given'.*words.safetensors"):
        loaded = TwoTower.load_from_checkpoint(tmp_path / "m.ckpt", weights_only=True).eval()
    model.eval()
    rows = torch.arange(20)
    queries, candidates = take_features(data.data.query, rows), data.assembler.candidate_features(rows)
    with torch.no_grad():
        torch.testing.assert_close(loaded.encode_query(queries), model.encode_query(queries))
        torch.testing.assert_close(loaded.encode_candidate(candidates), model.encode_candidate(candidates))
    assert loaded.encode_query(queries).isfinite().all()
    raw = pl.DataFrame({"text": ["some text"], "asked": [["what was asked", "and what else"]]})
    assert loaded.schemas is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loaded.encode_candidate(loaded.schemas.candidate.encode(raw)).shape == (1, 16)
