"""Both towers and the scorer as one torch module: what queries and candidates become, and what they score together."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dssm_lightning.features.schema import Schemas
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tied_tables import share_tables
from dssm_lightning.models.tower import Tower, TowerFactory
from dssm_lightning.models.tower_checks import (
    check_batch_statistics,
    check_bypass,
    check_equal_features,
    check_histories,
)
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Features, embed_items, num_rows, row_chunks


class TwoTowerModel(nn.Module):
    """Query and candidate each through a tower of their own, met in one score.

    The towers are built when the data's schemas are known (:meth:`build`).

    Args:
        make_query_tower: fitted schema -> tower.
        make_candidate_tower: likewise; None = the query tower serves both sides, which then declare equal features.
        scorer: embeddings of both sides -> logits.
        tied_embeddings: query feature -> candidate feature (or of any side) whose table it shares.
        encode_chunk_size: encode so many rows at once and recompute each slice in the backward pass (GradCache,
            arXiv 2101.06983, for any tower, inside autograd); None = all at once.

    Raises:
        ValueError: a chunk size below 1.
    """

    def __init__(
        self,
        make_query_tower: TowerFactory,
        make_candidate_tower: TowerFactory | None,
        scorer: Scorer,
        tied_embeddings: dict[str, str] | None = None,
        encode_chunk_size: int | None = None,
    ) -> None:
        super().__init__()
        check_chunk_size("encode_chunk_size", encode_chunk_size)
        self.make_query_tower, self.make_candidate_tower = make_query_tower, make_candidate_tower
        self.scorer = scorer
        self.tied_embeddings = tied_embeddings or {}
        self.encode_chunk_size = encode_chunk_size
        self.schemas: Schemas | None = None

    def build(self, schemas: Schemas) -> None:
        """Build the towers for fitted schemas. Again with equal ones: nothing happens.

        Raises:
            ValueError: other schemas than before (the difference is named); sides that do not fit together.
        """
        if self.schemas is not None:
            difference = self.schemas.difference(schemas)
            if difference is not None:
                raise UserError(f"the model was built for another schema than the data's: {difference}")
            return
        self.query_tower = self.make_query_tower(schemas.query)
        if self.make_candidate_tower is None:
            check_equal_features(schemas)
            self.candidate_tower = self.query_tower
        else:
            self.candidate_tower = self.make_candidate_tower(schemas.candidate)
        check_bypass(self.towers)
        self.scorer.check_widths(*self.widths)
        if self.encode_chunk_size is not None:
            check_batch_statistics(self.towers, "encode_chunk_size")
        share_tables(self.towers, self.tied_embeddings)
        check_histories(schemas, self.towers)
        self.schemas = schemas

    @property
    def towers(self) -> dict[str, Tower]:
        """Both towers by side."""
        return {"query": self.query_tower, "candidate": self.candidate_tower}

    @property
    def widths(self) -> tuple[int, int]:
        """D of a query's embedding and of a candidate's, with each bias and the constant 1 that meets it."""
        extra = sum(tower.bias is not None for tower in self.towers.values())
        return self.query_tower.output_dim + extra, self.candidate_tower.output_dim + extra

    def encode_query(self, features: Features) -> Tensor:
        """(B, …) -> (B, D); D counts the query's bias, and the constant 1 that meets a candidate's."""
        embedding = self._encode(self.query_tower, self.embed_histories(features))
        return embedding if self.candidate_tower.bias is None else nn.functional.pad(embedding, (0, 1), value=1.0)

    def embed_histories(self, features: Features) -> Features:
        """The same columns, with embeddings in place of the candidates that histories are made of."""
        return {name: embed_items(column, self.encode_candidate) for name, column in features.items()}

    def encode_candidate(self, features: Features) -> Tensor:
        """(C, …) -> (C, D), what the index stores; D counts the constant 1 that meets a query's bias, and its own."""
        embedding = self._encode(self.candidate_tower, features)
        if self.query_tower.bias is None:
            return embedding
        vector, bias = embedding.tensor_split([self.candidate_tower.output_dim], dim=-1)  # (C, 0) without a bias
        return torch.cat([vector, torch.ones_like(vector[:, :1]), bias], dim=-1)

    def forward(self, query: Features, candidate: Features) -> Tensor:
        """(Q, …), (C, …) -> (Q, C) logits."""
        logits = self.scorer(self.encode_query(query), self.encode_candidate(candidate))
        assert isinstance(logits, Tensor)
        return logits

    def _encode(self, tower: Tower, features: Features) -> Tensor:
        size = self.encode_chunk_size
        if size is None or num_rows(features) <= size or not torch.is_grad_enabled():
            return tower(features)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
        return torch.cat([checkpoint(tower, part, use_reentrant=False) for part in row_chunks(features, size)])


def check_chunk_size(name: str, size: int | None) -> None:
    """Refuse chunks that could hold nothing; None = all at once.

    Raises:
        ValueError: a size below 1.
    """
    if size is not None and size < 1:
        raise UserError(f"{name} is {size}; it must be at least 1 (leave it out for all at once)")
