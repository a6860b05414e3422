"""Every encoder, fusion and scorer as an ONNX program: onnxruntime gives what torch gives, for rows of any number."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from helpers.programs import build, largest_difference, query_difference, run

from dssm_lightning import Tower
from dssm_lightning.export import export_towers, flatten
from dssm_lightning.features import (
    BagOfWordsRandomProjection,
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Tokens,
    Vector,
    Words,
    WordTrigrams,
)
from dssm_lightning.models import encoders, fusion, scorers
from dssm_lightning.models.encoders import (
    GRU,
    AttentionPooling,
    Backbone,
    BiLSTM,
    Codes,
    ConvNet,
    ConvTrigrams,
    DecayedEmbeddingBag,
    Dense,
    Embedding,
    EmbeddingBag,
    Identity,
    Linear,
    SelfAttention,
    TermBag,
    WordVectors,
)
from dssm_lightning.models.fusion import FM, MLP, Concat, Cross, FMScore, Gated, Parallel, SENet, Sum
from dssm_lightning.models.scorers import Dot, MLPScorer, MultiHeadDot
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.utils.ragged import Ragged

Case = tuple[Feature, Callable[..., encoders.Encoder]]
FILM = Categorical(name="film", vocabulary=tuple("abcdefghij"))
GENRES = CategoricalList(name="genres", vocabulary=tuple("uvwxyz"))
WORDS = HashedWords(name="title", num_buckets=40)
SEEN = History(name="seen", of="film", max_length=9).bind(FILM)
WHOLE = History(name="seen", of="candidate", max_length=9)
POSTER = Image(name="poster", size=32)
COUNTED = HashedWords(name="title", num_buckets=30, count_texts=True).fit(pl.Series(["a red cat", "a dog, a cat"]))
CITY = Categorical(name="city", vocabulary=("Bonn", "Rome"))

CASES: dict[str, Case] = {
    "Embedding": (CITY, partial(Embedding, output_dim=4)),
    "Embedding of buckets": (Bucketized(name="age", boundaries=(1.0, 2.0)), partial(Embedding, output_dim=4)),
    "EmbeddingBag mean": (HashedTrigrams(name="title", num_buckets=50), partial(EmbeddingBag, output_dim=4)),
    "EmbeddingBag sqrt": (WORDS, partial(EmbeddingBag, output_dim=4, pooling="sqrt")),
    "EmbeddingBag sum": (GENRES, partial(EmbeddingBag, output_dim=4, pooling="sum", sparse=True)),
    "EmbeddingBag of a history": (SEEN, partial(EmbeddingBag, output_dim=4)),
    "EmbeddingBag of several ids an entry": (
        History(name="seen", of="genres").bind(GENRES),
        partial(EmbeddingBag, output_dim=4),
    ),
    "EmbeddingBag of queries": (LikedBy(name="fans", of="city").bind(CITY), partial(EmbeddingBag, output_dim=4)),
    "TermBag": (COUNTED, partial(TermBag, output_dim=4, sparse=True)),
    "Codes of an id": (FILM, partial(Codes, output_dim=5, weight=-2.0)),
    "Codes of a history": (SEEN, partial(Codes, output_dim=5, weight=-2.0)),
    "DecayedEmbeddingBag mean": (SEEN, partial(DecayedEmbeddingBag, output_dim=4, half_life=2.0)),
    "DecayedEmbeddingBag sum": (
        SEEN,
        partial(DecayedEmbeddingBag, output_dim=4, half_life=2.0, pooling="sum", learnable=True),
    ),
    "AttentionPooling": (WORDS, partial(AttentionPooling, output_dim=4, hidden_dim=3)),
    "ConvTrigrams": (WordTrigrams(name="title", num_buckets=30), partial(ConvTrigrams, output_dim=4)),
    "ConvTrigrams window 5": (
        WordTrigrams(name="title", num_buckets=30),
        partial(ConvTrigrams, output_dim=4, window=5),
    ),
    "ConvTrigrams window 1": (
        WordTrigrams(name="title", num_buckets=30),
        partial(ConvTrigrams, output_dim=4, window=1),
    ),
    "SelfAttention": (SEEN, partial(SelfAttention, output_dim=4, num_heads=2)),
    "SelfAttention SwiGLU": (
        SEEN,
        partial(SelfAttention, output_dim=4, num_heads=2, hidden_dim=6, feed_forward="swiglu"),
    ),
    "BiLSTM mean": (WORDS, partial(BiLSTM, embedding_dim=5, hidden_dim=3)),
    "BiLSTM max, 2 layers": (WORDS, partial(BiLSTM, embedding_dim=5, hidden_dim=3, num_layers=2, pooling="max")),
    "BiLSTM last, 3 layers": (
        WORDS,
        partial(BiLSTM, output_dim=7, embedding_dim=5, hidden_dim=3, num_layers=3, pooling="last", dropout=0.5),
    ),
    "GRU": (SEEN, partial(GRU, output_dim=4)),
    "GRU, 3 layers": (SEEN, partial(GRU, output_dim=4, num_layers=3, dropout=0.5)),
    "ConvNet": (POSTER, partial(ConvNet, output_dim=4, channels=[4, 8])),
    "ConvNet with a grid": (POSTER, partial(ConvNet, output_dim=4, channels=[4, 8], patch=2, grid=2)),
    "Backbone": (POSTER, partial(Backbone, name="shufflenet_v2_x0_5", output_dim=4)),
    "Backbone without a layer": (
        Image(name="poster", size=32, mode="L"),
        partial(Backbone, name="resnet18", output_dim=None, frozen=True),
    ),
    "Dense": (CITY, partial(Dense, encoder=Embedding, output_dim=4)),
    "Dense of BiLSTM": (WORDS, partial(Dense, encoder=partial(BiLSTM, embedding_dim=5, hidden_dim=3), output_dim=4)),
    "Identity": (Numeric(name="price"), Identity),
    "Identity of a projection": (BagOfWordsRandomProjection(name="title", dimension=6), Identity),
    "Linear": (Vector(name="vector", length=5), partial(Linear, output_dim=4)),
    **{
        f"{encoder.__name__} of whole candidates": (WHOLE, partial(encoder, output_dim=6, **options))  # type: ignore[operator]
        for encoder, options in (
            (EmbeddingBag, {}),
            (DecayedEmbeddingBag, {"half_life": 2.0}),
            (SelfAttention, {}),
            (GRU, {}),
        )
    },
}
QUICK = {"Embedding", "BiLSTM max, 2 layers"}
ACTIVATIONS = ["ReLU", "Tanh", "GELU", "SiLU", "LeakyReLU", "ELU", "Softplus", "Mish", "PReLU"]


def both_differences(model: TwoTowerModel, folder: Path) -> float:
    """The largest difference of both towers to torch."""
    programs = export_towers(model, folder)
    sides = {"query": programs.query, "candidate": programs.candidate}
    return max(largest_difference(model, side, folder, program) for side, program in sides.items())


def slow_unless(quick: set[str], names: Any) -> list[Any]:
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_unless(QUICK, CASES))
def test_each_encoder(name: str, tmp_path: Path) -> None:
    feature, encoder = CASES[name]
    tower = partial(Tower, fusion=Concat, output_dim=6, encoders={feature.name: encoder})
    assert query_difference(build([feature], [FILM, GENRES], tower), tmp_path) < 1e-5


@pytest.mark.slow
def test_word_vectors(tmp_path: Path) -> None:
    import polars as pl

    (tmp_path / "vectors.txt").write_text("cat 1 0\ndog 0 1\nsea 3 4\n")
    feature = Words(name="title", vectors=str(tmp_path / "vectors.txt")).fit(pl.Series(["cat dog sea"]))
    tower = partial(Tower, fusion=Concat, output_dim=6, encoders={"title": WordVectors})
    assert query_difference(build([feature], [FILM], tower), tmp_path) < 1e-5


def test_every_encoder_of_the_package_is_exported_here() -> None:
    abstract = {"Encoder", "EncoderFactory", "default_encoder", "BatchTransform", "RandomView"}
    tested = " ".join([*CASES, "WordVectors"])
    assert [name for name in encoders.__all__ if name not in abstract and name not in tested] == []
    assert [
        name for name in fusion.__all__ if name not in {"Fusion", "FusionFactory"} and name not in str([*FUSIONS])
    ] == []
    assert [name for name in scorers.__all__ if name != "Scorer" and name not in str([*SCORERS])] == []


FUSIONS: dict[str, Callable[..., fusion.Fusion]] = {
    "Concat": Concat,
    "Sum": Sum,
    "Sum, Tanh": partial(Sum, activation="Tanh"),
    "MLP": partial(MLP, hidden_dims=[5, 4]),
    "SENet": SENet,
    "SENet max": partial(SENet, squeeze="max", gate="double_sigmoid"),
    "Cross": Cross,
    "Cross rank 2": partial(Cross, rank=2, num_layers=3),
    "FM": FM,
    "Gated": Gated,
    "Gated per dimension": partial(Gated, per_dimension=True),
    "Parallel": partial(Parallel, branches=[Concat, FM, partial(MLP, hidden_dims=[3])], branch_dim=2),
    "FMScore": partial(FMScore, side="query"),
}


@pytest.mark.parametrize("name", slow_unless({"Parallel"}, FUSIONS))
def test_each_fusion(name: str, tmp_path: Path) -> None:
    query = [FILM, WORDS, Vector(name="vector", length=4)]
    make = {"film": partial(Embedding, output_dim=4), "title": partial(EmbeddingBag, output_dim=4)}
    tower = partial(
        Tower, fusion=FUSIONS[name], output_dim=6, encoders={**make, "vector": partial(Linear, output_dim=4)}
    )
    assert query_difference(build(query, [FILM], tower), tmp_path) < 1e-5


SCORERS: dict[str, Callable[[], scorers.Scorer]] = {
    "Dot": partial(Dot, logit_scale=20.0, learnable=True),
    "MultiHeadDot mean": partial(MultiHeadDot, 2),
    "MultiHeadDot max": partial(MultiHeadDot, 3, "max", logit_scale=5.0),
    "MLPScorer": partial(MLPScorer, 6, 6, hidden_dims=[8, 4]),
}


@pytest.mark.parametrize("name", slow_unless({"MultiHeadDot max", "MLPScorer"}, SCORERS))
def test_each_scorer_scores_given_pairs_and_an_index_finds_its_vectors(name: str, tmp_path: Path) -> None:
    heads = int(name[-3:] == "max") * 2 + 1
    tower = partial(Tower, fusion=Concat, output_dim=6, num_heads=heads)
    model = build([CITY], [FILM], tower, tower, SCORERS[name]())
    programs = export_towers(model, tmp_path)
    query, candidate = torch.randn(4, 6), torch.randn(9, 6)
    for count in (1, 4):
        columns = torch.randint(0, 9, (count, 5))
        inputs = {"query": query[:count], "candidate": candidate, "columns": columns}
        with torch.no_grad():
            wanted = model.scorer.pairs(query[:count], candidate, columns)
        assert torch.allclose(torch.from_numpy(run(tmp_path, programs.scorer, inputs)), wanted, atol=1e-5)
    assert programs.indexable == model.scorer.indexable == (name != "MLPScorer")
    assert (programs.vectors is not None) == ("MultiHeadDot" in name)
    if programs.vectors is not None:
        with torch.no_grad():
            wanted = model.scorer.vectors(candidate)
        found = torch.from_numpy(run(tmp_path, programs.vectors, {"embedding": candidate}))
        assert torch.allclose(found, wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("activation", "norm"), list(zip(ACTIVATIONS, cycle(["layer", "batch"]), strict=False)))
def test_layers_bias_bypass_and_lengths(activation: str, norm: str, tmp_path: Path) -> None:
    tower: Any = partial(Tower, fusion=Concat, hidden_dims=[7, 5], output_dim=6, activation=activation, norm=norm)
    query = partial(tower, bypass=["seen"], encoders={"seen": partial(Codes, output_dim=4)}, bias=norm == "layer")
    candidate = partial(tower, bypass=["film"], encoders={"film": partial(Codes, output_dim=4)}, bias=True)
    assert both_differences(build([CITY, SEEN], [FILM, GENRES], query, candidate), tmp_path) < 1e-5


@pytest.mark.slow
def test_one_tower_for_both_sides_without_normalisation(tmp_path: Path) -> None:
    tower = partial(Tower, fusion=Concat, output_dim=6, normalize=False)
    model = build([WORDS], [WORDS], tower, None, encode_chunk_size=2)
    assert both_differences(model, tmp_path) < 1e-5


@pytest.mark.slow
def test_tokens(tmp_path: Path) -> None:
    import polars as pl

    feature = Tokens(name="title", vocab_size=60).fit(pl.Series(["a cat and a dog"] * 9))
    assert query_difference(build([feature], [FILM]), tmp_path) < 1e-5


@pytest.mark.slow
def test_a_history_of_whole_candidates_reads_their_embeddings(tmp_path: Path) -> None:
    """What the candidate program gives; without any entry, no item is read."""
    tower = partial(Tower, fusion=Concat, output_dim=6, encoders={"seen": partial(GRU, output_dim=6)})
    model = build([WHOLE], [FILM], tower)
    programs = export_towers(model, tmp_path)
    assert [each.name for each in programs.query.inputs] == ["seen__values", "seen__offsets", "seen__items"]
    assert programs.query.inputs[2].shape == (None, 6)
    ids = torch.zeros(0, dtype=torch.int64)
    inputs = {"seen__values": ids, "seen__offsets": torch.zeros(3, dtype=torch.int64)}
    found = run(tmp_path, programs.query, {**inputs, "seen__items": torch.zeros(1, 6)})
    again = run(tmp_path, programs.query, {**inputs, "seen__items": torch.ones(1, 6)})
    assert (found == again).all()
    films = torch.tensor([3, 0, 9], dtype=torch.int32)
    embedded = torch.from_numpy(run(tmp_path, programs.candidate, {"film": films}))
    values, offsets = torch.tensor([2, 0, 1]), torch.tensor([0, 1, 3])
    given = {"seen__values": values, "seen__offsets": offsets, "seen__items": embedded}
    with torch.no_grad():
        wanted = model.encode_query({"seen": Ragged(values, offsets, torch.ones(3), {"film": films})})
    assert torch.allclose(torch.from_numpy(run(tmp_path, programs.query, given)), wanted, atol=1e-5)
    assert flatten({}) == {}
