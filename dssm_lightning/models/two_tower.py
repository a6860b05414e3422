"""Both towers and the scorer as one plain torch module: embeddings of queries and candidates, and their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dssm_lightning.features.history import History
from dssm_lightning.features.schema import Schemas
from dssm_lightning.models.embedding_layout import Layouts, check_width
from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.stored_vectors import as_stored, check_vectors
from dssm_lightning.models.tied_tables import share_tables
from dssm_lightning.models.tower import Tower, TowerFactory
from dssm_lightning.models.tower_checks import (
    check_batch_statistics,
    check_bypass,
    check_equal_features,
    check_histories,
)
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError, require_at_least
from dssm_lightning.utils.ragged import (
    Features,
    concatenate_into,
    embed_items,
    num_rows,
    pad_rows_to,
    row_chunks,
    to_device,
)


class TwoTowerModel(nn.Module):
    """A query tower, a candidate tower and a scorer.

    The towers are built when the fitted schemas are known (:meth:`build`).

    Args:
        make_query_tower: fitted schema -> tower.
        make_candidate_tower: fitted schema -> tower; None = the query tower encodes both sides, whose features must
            then be equal.
        scorer: embeddings of both sides -> logits.
        tied_embeddings: feature -> feature (of either side) whose table it shares.
        encode_chunk_size: encode at most this many rows at once and recompute each chunk in the backward pass
            (GradCache, arXiv 2101.06983, for any tower, inside autograd); None = all at once.

    Raises:
        UserError: a chunk size below 1.

    Example:
        >>> from functools import partial
        >>> from dssm_lightning.features import Vector
        >>> from dssm_lightning.features.schema import Schema, Schemas
        >>> from dssm_lightning.models.fusion import Concat
        >>> from dssm_lightning.models.scorers import Dot
        >>> schema = Schema((Vector(name="vector", length=3),))
        >>> model = TwoTowerModel(partial(Tower, fusion=Concat, output_dim=2), None, Dot())
        >>> model.build(Schemas(schema, schema))
        >>> model.encode_query({"vector": torch.ones(4, 3)}).shape
        torch.Size([4, 2])
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
        require_at_least("model", "encode_chunk_size", encode_chunk_size, hint="leave it out for all rows at once")
        self.make_query_tower, self.make_candidate_tower = make_query_tower, make_candidate_tower
        self.scorer = scorer
        self.tied_embeddings = tied_embeddings or {}
        self.encode_chunk_size = encode_chunk_size
        self.schemas: Schemas | None = None
        self.truncate_dim: int | None = None
        """The width that :meth:`truncate` has cut embeddings to; None = they are whole."""

    def build(self, schemas: Schemas) -> None:
        """Build the towers for fitted schemas. A second call with equal schemas does nothing.

        Raises:
            UserError: other schemas than before (the difference is named); sides that do not fit together.
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
        check_vectors(self.towers, self.scorer)
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
        """D of a query's embedding and of a candidate's, with each bias and the constant 1 that the bias meets."""
        extra = sum(tower.bias is not None for tower in self.towers.values())
        query, candidate = self.vector_widths
        return query + extra, candidate + extra

    @property
    def vector_widths(self) -> tuple[int, int]:
        """The same without biases and constants."""
        layers = zip(self.towers.values(), self.direction_widths(), strict=True)
        query, candidate = (width + sum(tower.bypass_dims) for tower, width in layers)
        return query, candidate

    def direction_widths(self) -> tuple[int, int]:
        """Return the dimensions of each side's embedding that layers make; codes of ``bypass`` and biases follow."""
        if self.truncate_dim is not None:
            return self.truncate_dim, self.truncate_dim
        query, candidate = (tower.output_dim - sum(tower.bypass_dims) for tower in self.towers.values())
        return query, candidate

    def layouts(self) -> Layouts:
        """Return which numbers of the whole embeddings the layers make, and how they are cut."""
        return Layouts.of(self.towers, self.scorer)

    def check_dims(self, dims: Sequence[int], owner: str) -> None:
        """Refuse widths of a loss that the embeddings do not have.

        Args:
            dims: ascending; empty = none.
            owner: the loss, for the message.

        Raises:
            UserError: errors of :func:`~dssm_lightning.models.embedding_layout.check_width`; the last one is not whole.
        """
        for width in dims:
            check_width(width, self.towers, self.scorer, owner, "a width of dims")
        whole = self.direction_widths()[0]
        if dims and dims[-1] != whole:
            raise UserError(
                f"{owner}: the last width of dims is {dims[-1]}, and embeddings are {whole} wide: nothing would train "
                f"the numbers after it; add {whole}, or set the towers' output_dim to {dims[-1]}"
            )

    def truncate(self, width: int, owner: str = "model") -> None:
        """Cut all embeddings to this width from now on, as :class:`~dssm_lightning.losses.Matryoshka` trains them.

        The model is then one whose towers have this ``output_dim``: for evaluation and export, not for training.

        Args:
            width: numbers of the layers that are kept, or all; ``bypass`` features and biases stay whole.
            owner: owner of the setting ``truncate_dim``, for messages.

        Raises:
            UserError: errors of :func:`~dssm_lightning.models.embedding_layout.check_width`; a history that consists of
                whole candidates.
        """
        assert self.schemas is not None, "the towers are not built"
        check_width(width, self.towers, self.scorer, owner, "truncate_dim")
        if width == self.layouts().query.width:
            self.truncate_dim = None
            return
        for feature in self.schemas.query:
            if isinstance(feature, History) and feature.of_candidates:
                raise UserError(
                    f"{owner}: truncate_dim is {width}, and query feature {feature.name!r} reads whole embeddings of "
                    "candidates, which are then not stored; leave it out"
                )
        self.truncate_dim = width

    # -- one batch ----------------------------------------------------------------------------------------------------

    def encode_query(self, features: Features) -> Tensor:
        """(B, …) -> (B, D); D counts the query's bias, and the constant 1 that meets a candidate's bias."""
        embedding = self._encode(self.query_tower, self.embed_histories(features))
        if self.truncate_dim is not None:
            embedding = self.layouts().query.cut(embedding, self.truncate_dim)
        return embedding if self.candidate_tower.bias is None else nn.functional.pad(embedding, (0, 1), value=1.0)

    def embed_histories(self, features: Features) -> Features:
        """Return the columns with embeddings in place of the candidates that histories consist of."""
        return {name: embed_items(column, self.encode_candidate) for name, column in features.items()}

    def encode_candidate(self, features: Features) -> Tensor:
        """(C, …) -> (C, D), what an index stores; D counts the constant 1 that meets a query's bias, and the bias."""
        embedding = self._encode(self.candidate_tower, features)
        if self.truncate_dim is not None:
            embedding = self.layouts().candidate.cut(embedding, self.truncate_dim)
        if self.query_tower.bias is not None:
            vector, bias = embedding.tensor_split([self.vector_widths[1]], dim=-1)  # (C, 0) without a bias
            embedding = torch.cat([vector, torch.ones_like(vector[:, :1]), bias], dim=-1)
        return as_stored(embedding, self.candidate_tower.vectors, self.scorer)

    def forward(self, query: Features, candidate: Features) -> Tensor:
        """(Q, …), (C, …) -> (Q, C) logits."""
        logits = self.scorer(self.encode_query(query), self.encode_candidate(candidate))
        assert isinstance(logits, Tensor)
        return logits

    def _encode(self, tower: Tower, features: Features) -> Tensor:
        size = self.encode_chunk_size
        if size is None or not torch.is_grad_enabled() or num_rows(features) <= size:
            embedding: Tensor = tower(features)
            return embedding
        return torch.cat([checkpoint(tower, part, use_reentrant=False) for part in row_chunks(features, size)])

    # -- a whole corpus -----------------------------------------------------------------------------------------------

    def embed_corpus(self, batches: Iterable[Features], share: int) -> Tensor:
        """Embed the corpus: (N, D), each process embedding its share.

        Args:
            batches: the features of this process's candidates, in order.
            share: how many candidates they are.
        """
        parts = (self.embed_rows(self.encode_candidate, part) for part in batches)
        return distributed.gather_rows(concatenate_into(parts, share))

    def score(self, query: Features, corpus: Tensor) -> Tensor:
        """(Q, …), (N, D) -> (Q, N) logits of queries with the embedded corpus."""
        return self.embed_rows(lambda features: self.scorer(self.encode_query(features), corpus), query)

    def embed_rows(self, encode: Callable[[Features], Tensor], features: Features) -> Tensor:
        """Encode rows (B, …) on the model's device, equal to the last bit however the rows are cut into batches.

        Kernels for a few rows round differently: fewer than 8 rows are padded.
        """
        device = next(self.parameters()).device
        return encode(pad_rows_to(to_device(features, device), 8, device))[: num_rows(features)]
