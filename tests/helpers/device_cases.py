"""Small fits of every loss, scorer, encoder and kind of negatives: what must work on any device."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import torch
from helpers.chunks import LOSSES, SIZES
from helpers.small import TOWER, small_data, small_model
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.negatives import (
    FromColumn,
    FromShown,
    Hard,
    LogUniform,
    Mixed,
    ObservedOnly,
    Popularity,
    SameAttribute,
    Uniform,
)
from dssm_lightning.data.negatives.frequency import StreamingFrequency
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.features import (
    Bucketized,
    Categorical,
    CategoricalList,
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

Settings = dict[str, dict[str, Any]]

ID, TEXT = Categorical(name="candidate_id"), HashedWords(name="text", num_buckets=300)
PAST = History(name="history", of="candidate_id", max_length=5)


def part(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": name, "init_args": options}


def tower(fusion: Any = "Concat", encoders: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {**TOWER, "init_args": {"fusion": fusion, "output_dim": 16, "encoders": encoders or {}, **options}}


def losses() -> dict[str, Settings]:
    """Losses that need no teacher."""
    found: dict[str, Settings] = {str(loss): {"model": {"loss": partial(copy.deepcopy, loss)}} for loss in LOSSES}
    summed = [part("Matryoshka", loss="SampledSoftmax", dims=[4, 16]), part("BPR")]
    found["learnt bias"] = {"model": {"loss": part("SigLIP", bias=-2.0, learnable=True)}}
    found["matryoshka"] = {"model": {"loss": summed[0], "truncate_dim": 8}}
    found["weighted sum"] = {"model": {"loss": part("WeightedSum", losses=summed)}}
    found["labels"] = {
        "model": {"loss": part("BinaryCrossEntropy")},
        "data": {"source": Synthetic(60, 40, labels=True)},
    }
    found["weights"] = {"data": {"source": Synthetic(60, 40, weights=True)}}
    return found


def scorers() -> dict[str, Settings]:
    """Scorers, and what towers add to embeddings."""
    heads = tower(num_heads=4)
    both = {"query_tower": heads, "candidate_tower": heads}
    codes = tower(encoders={"candidate_id": part("Codes", output_dim=8, learnable=True)}, bypass=["candidate_id"])
    shown = tower(encoders={"history": part("Codes", output_dim=8)}, bypass=["history"])
    int8 = tower(bias=True, vectors="int8")
    return {
        "learnt scale": {"model": {"scorer": part("Dot", logit_scale=5, learnable=True)}},
        "heads": {"model": {**both, "scorer": part("MultiHeadDot", num_heads=4, logit_scale=5)}},
        "greatest head": {"model": {**both, "scorer": part("MultiHeadDot", num_heads=4, reduce="max")}},
        "mlp": {"model": {"scorer": part("MLPScorer", query_dim=16, candidate_dim=16)}},
        "int8 vectors": {"model": {"query_tower": tower(bias=True), "candidate_tower": int8}},
        "codes": {
            "model": {"query_tower": shown, "candidate_tower": codes},
            "data": {"query": [PAST, TEXT], "candidate": [ID, TEXT]},
        },
        "one tower": {"model": {"candidate_tower": None}, "data": {"candidate": [TEXT]}},
        "layers": {"model": {"query_tower": tower(hidden_dims=[24], norm="layer", activation="Tanh")}},
    }  # fmt: skip


def encoders() -> dict[str, Settings]:
    """Encoders of one query feature, or of one candidate feature."""
    counted = HashedWords(name="text", num_buckets=300, count_texts=True)
    words, trigrams = Words(name="text", max_tokens=500), WordTrigrams(name="text", num_buckets=500)
    queries = {
        "sparse bag": (TEXT, part("EmbeddingBag", output_dim=16, sparse=True)),
        "bag of square roots": (HashedTrigrams(name="text", num_buckets=500), part("EmbeddingBag", pooling="sqrt")),
        "attention pooling": (words, part("AttentionPooling", output_dim=16)),
        "lstm": (words, part("BiLSTM", embedding_dim=8, hidden_dim=8)),
        "term bag": (counted, part("TermBag", output_dim=32)),
        "convolution": (trigrams, part("ConvTrigrams", output_dim=16)),
        "dense": (TEXT, part("Dense", encoder="EmbeddingBag", output_dim=16)),
        "tokens": (Tokens(name="text", model="bpe", vocab_size=200, max_length=12), part("AttentionPooling")),
        "bag of liked": (PAST, part("EmbeddingBag", output_dim=16)),
        "attention": (PAST, part("SelfAttention", output_dim=16, num_heads=2, dropout=0.0)),
        "attention, swiglu": (PAST, part("SelfAttention", output_dim=16, feed_forward="swiglu", dropout=0.0)),
        "gru": (PAST, part("GRU", output_dim=16)),
    }  # fmt: skip
    found: dict[str, Settings] = {}
    for name, (feature, encoder) in queries.items():
        lazy = {"optimizer": part("LazyAdam", lr=0.02)} if "sparse" in name else {}
        model = {"query_tower": tower(encoders={feature.name: encoder}), **lazy}
        found[name] = {"model": model, "data": {"query": [feature]}}
        if feature is PAST:
            by_query = {"batch_by": "query", "rows_per_query": 3}
            found[f"{name}, by query"] = {"model": model, "data": {"query": [feature], **by_query}}
    whole = {"query": [History(name="history", of="candidate", max_length=5)], "batch_by": "query"}
    attention = {"history": part("SelfAttention", output_dim=16, dropout=0.0)}
    found["whole candidates"] = {"model": {"query_tower": tower(encoders=attention)}, "data": whole}
    decayed = {"history": part("DecayedEmbeddingBag", output_dim=16, half_life=3600.0, learnable=True)}
    aged = {"query": [History(name="history", of="candidate_id", max_length=5)]}
    found["decayed"] = {"model": {"query_tower": tower(encoders=decayed)}, "data": aged}
    found["liked by"] = {"data": {"candidate": [TEXT, LikedBy(name="liked_by", of="text")]}}
    return found | columns()


def columns() -> dict[str, Settings]:
    """Features of other kinds, and their fusions."""
    several = [
        Categorical(name="group", num_buckets=50),
        CategoricalList(name="tags"),
        Numeric(name="size"),
        Bucketized(name="created", num_buckets=8),
        Vector(name="vector"),
    ]
    one_width = {name: part("Embedding", output_dim=8) for name in ("group", "created")}
    wide = {name: part("Linear", output_dim=8) for name in ("size", "vector")}
    widths = {**one_width, **wide, "tags": part("EmbeddingBag", output_dim=8)}
    found: dict[str, Settings] = {
        f"fusion {fusion}": {
            "model": {"query_tower": tower(fusion, encoders=widths)},
            "data": {"query": several},
        }
        for fusion in ("Concat", "Sum", "FM", "Cross", "Gated", "SENet")
    }
    fused = part("Parallel", branches=["Sum", "FM"], branch_dim=8)
    found["fusion Parallel"] = {"model": {"query_tower": tower(fused, encoders=widths)}, "data": {"query": several}}
    picture = {"candidate": [ID, Image(name="picture", size=32)]}
    small = tower(encoders={"picture": part("ConvNet", output_dim=8, channels=[4, 8])})
    found["pictures"] = {"model": {"candidate_tower": small}, "data": picture}
    return found


def negatives() -> dict[str, Settings]:
    """Samplers, which draw again for each batch, and what removes or adds negatives."""
    hard = {"rank_range": (0, 10), "warm_up": 0}
    samplers = {
        "uniform": Uniform(8),
        "uniform by row": Uniform(3, per_row=True),
        "popular": Popularity(8),
        "log uniform": LogUniform(8),
        "of a column": FromColumn("negatives", 2),
        "of a column, shared": FromColumn("negatives", 2, per_row=False),
        "same attribute": SameAttribute("group", 2),
        "mined": Hard(4, per_row=False, margin=0.1, **hard),
        "mined by row": Hard(2, relative_margin=0.05, **hard),
        "mixed": Mixed([Hard(4, per_row=False, **hard), Uniform(8)]),
    }
    found: dict[str, Settings] = {name: {"data": {"negatives": sampler}} for name, sampler in samplers.items()}
    refined = part("SampledSoftmax", repeats="refined")
    guide, by_itself = part("GuidedNegatives", guide="BM25Teacher", margin=0.1), part("GuidedNegatives", margin=0.1)
    symmetric = part("SampledSoftmax", symmetric=True)
    taught = part("WeightedSum", losses=["SampledSoftmax", part("KLDivergence", temperature=3)])
    labelled = {"source": Synthetic(60, 40, labels=True)}
    return found | {
        "shown": {"data": {**labelled, "negatives": FromShown(2)}},
        "observed only": {"model": {"loss": "BinaryCrossEntropy"}, "data": {**labelled, "negatives": ObservedOnly()}},
        "duplicates": {"data": {"mask_duplicates": True, "query": [HashedWords(name="text", num_buckets=3)]}},
        "memory": {"model": {"memory_size": 60, "loss": refined}, "data": {"frequency": StreamingFrequency()}},
        "chunks": {"model": {**SIZES, "loss": symmetric}},
        "guided by itself": {"model": {"guide": by_itself, "loss": symmetric}},
        "guided": {"model": {"guide": guide, "score_chunk_size": 7}},
        "taught": {"model": {"teacher": "BM25Teacher", "loss": taught}},
        "taught margins": {"model": {"teacher": "BM25Teacher", "loss": "MarginMSE"}},
    }


def cases() -> dict[str, Settings]:
    """Changes of ``small_model`` and ``small_data`` by the name of what they try; anew at each call."""
    return {**losses(), **scorers(), **encoders(), **negatives()}


def made(name: str, folder: Path) -> tuple[TwoTower, RetrievalDataModule]:
    """The model, not built yet, and the data of a case; the weights of a scorer are drawn at once."""
    torch.manual_seed(3)
    settings = cases()[name]
    model = small_model(**{"ks": [10], **settings.get("model", {})})  # metrics at one cut-off take half of the time
    return model, small_data(folder / "cache", **settings.get("data", {}))


class StepLosses(Callback):
    """Keeps the loss of each training step."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.found.append(float(outputs["loss"]))
