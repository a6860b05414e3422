"""The other sides of the comparisons in ``bench.py``: what one would use without this package."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import HashingVectorizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchmetrics import MetricCollection
from torchmetrics.retrieval import (
    RetrievalAUROC,
    RetrievalHitRate,
    RetrievalMAP,
    RetrievalMRR,
    RetrievalNormalizedDCG,
    RetrievalPrecision,
    RetrievalRecall,
)

from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.features import Feature
from dssm_lightning.models.encoders import Encoder
from dssm_lightning.models.encoders.embedding_bag import id_table
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.ragged import Column, Ragged


def trigram_vectorizer(**options: Any) -> HashingVectorizer:
    """scikit-learn's letter trigrams within words, hashed."""
    return HashingVectorizer(analyzer="char_wb", ngram_range=(3, 3), **options)


class DenseBag(Encoder):
    """``nn.EmbeddingBag(mode="mean")`` with its dense gradient, over the ids of one feature.

    The call below is all that ``nn.EmbeddingBag.forward`` does; its table is an ``nn.Embedding``, because that is what
    ``tied_embeddings`` shares.
    """

    def __init__(self, feature: Feature, output_dim: int = 128) -> None:
        super().__init__()
        self.table = id_table(feature, output_dim)
        self.output_dim = output_dim

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, output_dim)."""
        assert isinstance(column, Ragged)
        offsets = column.offsets.to(column.values.dtype)
        return F.embedding_bag(column.values, self.table.weight, offsets, mode="mean", include_last_offset=True)


def with_dense_tables(model: dict[str, Any], fused: bool | None = None) -> dict[str, Any]:
    """A config's ``model`` section with its text tables as :class:`DenseBag` and ``torch.optim.Adam`` for all.

    Args:
        model: the section, which stays as it is.
        fused: Adam's option; None = torch's default, a loop over the parameters on the CPU.
    """
    model = copy.deepcopy(model)
    for side in ("query_tower", "candidate_tower"):
        for encoder in model[side]["init_args"]["encoders"].values():
            if encoder["class_path"] == "EmbeddingBag":
                encoder["class_path"] = f"{__name__}.{DenseBag.__name__}"
                encoder["init_args"] = {"output_dim": encoder["init_args"]["output_dim"]}
    options = {"lr": model["optimizer"]["init_args"]["lr"], "fused": fused}
    model["optimizer"] = {"class_path": "torch.optim.Adam", "init_args": options}
    return model


class EventRows(Dataset[dict[str, Any]]):
    """The dense columns of one event at a time, as NumPy values: ``default_collate`` takes longer for tensors."""

    def __init__(self, data: Prepared) -> None:
        self.query_row, self.candidate_row = data.interactions.query.numpy(), data.interactions.candidate.numpy()
        self.query, self.candidate = (
            {name: column.numpy() for name, column in side.items() if isinstance(column, Tensor)}
            for side in (data.query, data.candidate)
        )

    def __len__(self) -> int:
        return len(self.query_row)

    def __getitem__(self, row: int) -> dict[str, Any]:
        query, candidate = self.query_row[row], self.candidate_row[row]
        columns = {name: column[query] for name, column in self.query.items()}
        return columns | {name: column[candidate] for name, column in self.candidate.items()}


def row_loader(data: Prepared, order: list[int], batch_size: int) -> DataLoader[dict[str, Any]]:
    """Batches of the given events, collated row by row in this process."""
    return DataLoader(EventRows(data), batch_size, sampler=order)


def every_pair_metrics(scores: Tensor, relevant: Tensor, ks: list[int]) -> dict[str, float]:
    """torchmetrics' retrieval metrics of every (query, candidate) pair, by the names that ``Evaluation`` gives them.

    Args:
        scores: (Q, N) in (0, 1): torchmetrics finds no candidate whose score is not positive.
        relevant: (Q,) the one relevant candidate of each query.
        ks: cuts.
    """
    cut = {
        "hit_rate": RetrievalHitRate,
        "recall": RetrievalRecall,
        "precision": RetrievalPrecision,
        "ndcg": RetrievalNormalizedDCG,
        "map": RetrievalMAP,
    }
    metrics = MetricCollection(
        {f"{name}@{k}": metric(top_k=k) for name, metric in cut.items() for k in ks}
        | {"mrr": RetrievalMRR(), "query_auroc": RetrievalAUROC()}
    )
    target = F.one_hot(relevant, scores.shape[1]).bool()
    indexes = torch.arange(len(scores)).repeat_interleave(scores.shape[1])
    metrics.update(scores.flatten(), target.flatten(), indexes=indexes)
    return {name: float(value) for name, value in metrics.compute().items()}


class PlainDeepRetrieval(nn.Module):
    """Deep retrieval written for itself: index tensors of all events, plain layers, a column for each row of a batch.

    Titles' words are a rectangle, padded with the number of an extra row of zeros. The weights start as copies of two
    towers'.
    """

    def __init__(self, query: Tower, candidate: Tower, data: Prepared) -> None:
        super().__init__()
        encoders = copy.deepcopy(nn.ModuleDict({**query.encoders, **candidate.encoders}))
        self.user, self.bucket, self.title = (encoders[n].table for n in ("user_id", "time_bucket", "title"))
        words = encoders["title_words"].table.weight.detach()
        self.words = nn.Embedding.from_pretrained(F.pad(words, (0, 0, 0, 1)), freeze=False, padding_idx=len(words))
        self.query, self.candidate = (
            nn.Sequential(
                *(layer for layer in (*tower.hidden, *tower.output) if not isinstance(layer, nn.Dropout | nn.Identity))
            )
            for tower in copy.deepcopy(nn.ModuleList([query, candidate]))
        )
        bags = data.candidate["title_words"]
        assert isinstance(bags, Ragged)
        pieces = torch.tensor_split(bags.values.long(), bags.offsets[1:-1])
        self.film_words = nn.utils.rnn.pad_sequence(list(pieces), batch_first=True, padding_value=len(words))
        self.film_length, self.film_title = bags.lengths[:, None].float(), data.candidate["title"].long()
        self.event_user = data.query["user_id"][data.interactions.query].long()
        self.event_bucket, self.event_time = data.event["time_bucket"].long(), data.event["timestamp"]
        self.event_film = data.interactions.candidate

    def queries(self, rows: Tensor) -> Tensor:
        """(B, 32) of events."""
        user, bucket = self.user(self.event_user[rows]), self.bucket(self.event_bucket[rows])
        return self.query(torch.cat([user, bucket, self.event_time[rows]], 1))

    def films(self, films: Tensor) -> Tensor:
        """(B, 32) of films."""
        words = self.words(self.film_words[films]).sum(1) / self.film_length[films]
        return self.candidate(torch.cat([self.title(self.film_title[films]), words], 1))

    def losses(self, rows: Tensor) -> Tensor:
        """(B,) in-batch softmax over a column for each row."""
        scores = self.queries(rows) @ self.films(self.event_film[rows]).T
        return F.cross_entropy(scores, torch.arange(len(rows)), reduction="none")

    def train_epoch(self, optimizer: torch.optim.Optimizer, rows: Tensor, batch_size: int) -> None:
        """Whole batches of the rows in another order."""
        order = rows[torch.randperm(len(rows))][: len(rows) // batch_size * batch_size]
        for part in order.split(batch_size):
            optimizer.zero_grad()
            self.losses(part).sum().backward()
            optimizer.step()

    @torch.no_grad()
    def recalls(self, rows: Tensor, ks: list[int]) -> dict[str, float]:
        """Recall@k of events by one ``topk`` of all films' scores, seen films kept."""
        corpus, found = self.films(torch.arange(len(self.film_title))), []
        for part in rows.split(1024):
            best = (self.queries(part) @ corpus.T).topk(max(ks)).indices
            found.append(best == self.event_film[part, None])
        hits = torch.cat(found)
        return {f"recall@{k}": float(hits[:, :k].any(1).double().mean()) for k in ks}
