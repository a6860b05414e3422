"""A teacher that is a trained model of this package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.evaluation_batches import shard_corpus, shard_features
from dssm_lightning.data.corpus_digest import corpus_digest
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.data.preparation.prepare import prepare, read_prepared
from dssm_lightning.data.preparation.training_settings import without_dropout
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.features import LikedBy
from dssm_lightning.features.schema import Schemas
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.checkpoint_model import model_of
from dssm_lightning.training.teachers.base import Teacher, file_digest
from dssm_lightning.utils import distributed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import warn
from dssm_lightning.utils.ragged import concatenate_into


class CheckpointTeacher(Teacher):
    """The model of a checkpoint, with whatever features, towers and scorer it has, such as an ``MLPScorer``.

    Its scores are its logits: inner products times its own scale. It reads the student's tables with its own features,
    as they were fitted when it was trained. If they differ from the student's, the tables are encoded a second time,
    into a cache of its own. The corpus is embedded once, when training begins; so are the queries, unless their
    features depend on the event, as a history does.

    The checkpoint must have been trained on the same corpus. To learn from a model of another one, let the command
    ``mine`` write its scores into a file.

    Args:
        path: the checkpoint file. Its classes must be trusted, as for every checkpoint.

    Raises:
        UserError: in :meth:`open`, no such file, a damaged or hostile file, or weights that are NaN; in :meth:`bind`,
            another corpus, a column that the tables do not have, or a feature ``LikedBy``, which would show a
            candidate's own queries.

    Example:
        >>> teacher = CheckpointTeacher("runs/tldr/checkpoints/best.ckpt")
        >>> str(teacher)
        'runs/tldr/checkpoints/best.ckpt'
    """

    has_embeddings = True

    def __init__(self, path: str) -> None:
        self.path = path
        self._digest = ""

    def open(self) -> None:
        """Read the checkpoint, and build its model."""
        path = Path(self.path)
        if not path.is_file():
            raise UserError(f"teacher {self.path}: no such file")
        content = read_checkpoint(path)
        for name, value in content["state_dict"].items():
            if value.is_floating_point() and value.isnan().any():
                raise UserError(f"teacher {self.path}: the weight {name} has NaN values, so its scores would be NaN")
        self._model = model_of(content, self.path).requires_grad_(False)
        self._corpus_digest: Any = content.get("corpus")
        self._digest = file_digest(path)

    @property
    def signature(self) -> str:
        """The digest of the file, wherever it lies."""
        return f"CheckpointTeacher {self._digest}"

    def __str__(self) -> str:
        """Return the path."""
        return self.path

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Encode the student's tables with the teacher's features, and embed the corpus."""
        model = self._model.to(device)
        assert model.schemas is not None
        self._check(model.schemas, data)
        try:
            prepared = _encoded(data, model.schemas)
        except UserError as error:
            raise UserError(f"teacher {self.path}: {error}") from error
        self._assembler, self._device = Assembler(prepared, mask_known=False), device
        self._last: tuple[Tensor, Tensor] | None = None
        self._by_query: Tensor | None = None
        with torch.no_grad():
            corpus = shard_corpus(self._assembler, None, *data.share)
            self._corpus = model.embed_corpus(corpus, len(corpus.numbers))  # (N, D)
            if not prepared.event and not self._assembler.histories:
                self._by_query = self._embed_queries(model, data)

    def _embed_queries(self, model: TwoTowerModel, data: RetrievalData) -> Tensor:

        queries = shard_features(self._assembler.query_features, len(data.data.queries), *data.share)
        parts = (model.embed_rows(model.encode_query, part) for part in queries)
        return distributed.gather_rows(concatenate_into(parts, len(queries.numbers)))

    def _check(self, schemas: Schemas, data: RetrievalData) -> None:
        """Refuse a teacher of another corpus, and one whose candidates know the queries that like them."""
        for feature in schemas.candidate:
            if isinstance(feature, LikedBy):
                raise UserError(
                    f"teacher {self.path}: candidate feature {feature.name!r} is a LikedBy, so that each positive "
                    "would be found by its own row; use a teacher without it"
                )
        own = corpus_digest(data.candidates.to_series(0))
        if self._corpus_digest is None:
            warn(f"teacher {self.path} does not say which corpus it was trained on, as checkpoints of 0.1.0")
        elif self._corpus_digest != own:
            found = f"{self._corpus_digest['candidates']:,} candidates"
            raise UserError(
                f"teacher {self.path} was trained on another corpus, of {found}, and these data have "
                f"{own['candidates']:,}: train it on these data, or let `mine` write its scores into a file"
            )

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        query, scorer = self._queries(rows), self._model.scorer
        if candidates.dim() == 1:
            scores: Tensor = scorer(query, self._corpus[candidates])
            return scores
        ids, columns = torch.unique(candidates, return_inverse=True)
        return scorer.pairs(query, self._corpus[ids], columns)

    @torch.no_grad()
    def embed(self, rows: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings (Q, D) of the rows' queries, and (Q, D) of one candidate for each row."""
        with torch.autocast(rows.device.type, enabled=False):
            return self._queries(rows).float(), self._corpus[candidates].float()

    def _queries(self, rows: Tensor) -> Tensor:
        """Return the embeddings (Q, D) of the rows' queries, each with the history of its own event."""
        if self._by_query is not None:
            return self._by_query[self._assembler.data.interactions.query[rows.cpu()].to(self._device)]
        if self._last is None or self._last[0] is not rows:  # the chunks of a transposed problem share their queries
            features = self._assembler.event_features(rows.cpu())
            self._last = rows, self._model.embed_rows(self._model.encode_query, features)
        return self._last[1]


def _encoded(data: RetrievalData, schemas: Schemas) -> Prepared:
    """Return the student's tables, encoded with a teacher's schemas."""
    recipe, folder = data.recipe, data.folder
    if without_dropout(schemas) != without_dropout(data.schemas):
        recipe = replace(recipe, query=schemas.query, candidate=schemas.candidate)
        folder = prepare(recipe, data.cache_dir, schemas)
    prepared, own = read_prepared(recipe, folder, schemas), data.data.interactions
    same = (torch.equal(getattr(prepared.interactions, side), getattr(own, side)) for side in ("query", "candidate"))
    if not all(same):
        raise UserError("its features make other rows of these tables than the student's features do")
    return prepared
