"""Raw values become embeddings, in parts that need little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dssm_lightning.features import Categorical, HashedWords, Vector
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.retrieval import raw_encoder
from dssm_lightning.retrieval.raw_encoder import RawEncoder
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError


class CountingTowers:
    """The embedding is the number of words, twice; the sizes of all calls are kept."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, int]] = []

    def encode(self, side: str, columns: Any) -> Any:
        lengths = columns["text"].lengths
        self.sizes.append((len(lengths), int(lengths.max())))
        return np.stack([lengths, lengths], 1).astype(np.float32)


def encoder() -> tuple[RawEncoder, CountingTowers]:
    side, towers = Schema((HashedWords(name="text", num_buckets=50),)), CountingTowers()
    made: Any = towers
    return RawEncoder(Schemas(side, side), made), towers


def embed(made: RawEncoder, records: list[Any]) -> Any:
    unused: Any = None
    return made.embed("query", records, unused, np.zeros((1, 2), np.float32))


def test_long_texts_are_embedded_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred of 10,000 characters, which a body of a MiB can hold, once took gigabytes, and kept them."""
    monkeypatch.setattr(raw_encoder, "VALUES", 100)
    made, towers = encoder()
    lengths = [30] * 20 + [1] * 30 + [300, 1, 2]
    found = embed(made, [{"text": "word " * length} for length in lengths])
    assert found[:, 0].tolist() == lengths
    assert all(rows == 1 or rows * longest <= 100 for rows, longest in towers.sizes)
    assert len(towers.sizes) < 14, "short texts stay together"


def test_what_fits_is_embedded_at_once() -> None:
    made, towers = encoder()
    embed(made, [{"text": "red shoes"}] * 1_000)
    assert towers.sizes == [(1_000, 2)]


def test_a_value_that_is_not_given_is_named_with_those_that_are() -> None:
    side = Schema((HashedWords(name="text", num_buckets=50), Categorical(name="kind", vocabulary=("x",))))
    towers: Any = CountingTowers()
    made = RawEncoder(Schemas(side, side), towers)
    with pytest.raises(UserError, match=r"gives \['kind'\], but not 'text'.*needed are \['text'\]"):
        embed(made, [{"kind": "x"}])
    with pytest.raises(UserError, match="text") as caught:
        embed(made, [{"kind": "x", "text": ""}])
    assert "but not" not in str(caught.value)
    assert caught.value.__cause__ is not caught.value, "an error that is its own cause is freed late, with all it holds"


def test_programs_keep_no_memory(shop_bundle: Path) -> None:
    """An arena would keep that of the largest call, and patterns some of each new length."""
    retriever = Retriever.load(shop_bundle)
    retriever.search("red")
    towers: Any = retriever.corpus.towers
    assert towers._sessions
    for session in towers._sessions.values():
        options = session.get_session_options()
        assert not options.enable_cpu_mem_arena
        assert not options.enable_mem_pattern


def test_a_width_is_kept_where_there_is_nothing_to_embed() -> None:
    side = Schema((Vector(name="text", length=2),))
    made: Any = CountingTowers()
    assert embed(RawEncoder(Schemas(side, side), made), []).shape == (0, 2)
