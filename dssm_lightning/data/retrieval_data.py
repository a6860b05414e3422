"""Interactions, queries and candidates: encoded once, and handed out as batches. Plain Python, without a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.batching.candidate_lists import ranked_rows
from dssm_lightning.data.batching.evaluation_batches import (
    ShardedBatches,
    shard_corpus,
    shard_evaluation,
    shard_features,
    shard_mining_queries,
)
from dssm_lightning.data.batching.ranked_candidates import Ranking, make_ranking
from dssm_lightning.data.batching.train_loader import Progress
from dssm_lightning.data.negatives import Hard, NegativeSampler
from dssm_lightning.data.negatives.frequency import Frequency
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import Recipe, prepare, read_prepared
from dssm_lightning.data.setting_checks import check_event_columns, check_settings
from dssm_lightning.data.sources import Source
from dssm_lightning.data.splits import Split
from dssm_lightning.data.tables.objectives import check_objectives
from dssm_lightning.features import Feature
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.utils.ragged import Features


class RetrievalData:
    """The data of a retrieval model: which query likes which candidate, as features and batches.

    Nothing is read when it is constructed. The first use encodes the tables into a cache, which later uses map into
    memory. :class:`~dssm_lightning.data.datamodule.RetrievalDataModule` is the same for a Lightning trainer.

    Args:
        source: where the raw tables come from.
        query: the features of a query.
        candidate: the features of a candidate.
        split: which interactions are held out for validation and test.
        batch_size: training rows of a batch in each process; queries, if ``batch_by`` is "query".
        batch_by: what is shuffled into batches: single rows, or queries with all their rows. A history by time is then
            one sequence for each query, which an encoder such as ``SelfAttention`` reads once for all events.
        rows_per_query: in batches by query, take at most this many consecutive rows of each query, from a place that
            is drawn anew in each epoch; None = all.
        negatives: draws candidates beside those of the batch; None = in-batch negatives only.
        mask_known: never take a candidate that the query is known to like as its negative.
        mask_duplicates: never take a candidate as a negative that has the text of a known positive, or that a query
            of the same text is known to like. All text features of a side are compared.
        frequency: how often a training row's own candidate is each candidate, for losses that correct by ``log_q``;
            None = as counted in the training rows.
        evaluate: rank by "query" (all held-out candidates of a query at once), by "event" (each held-out interaction
            with its own context), or "listed" (each query ranks its own list: the held-out candidates that have label
            1 or 0 for it).
        rank: which candidates a query is ranked against: the whole corpus, or "held_out": only the candidates that
            the fold holds out, for a split that keeps whole candidates (``ColdCandidates``).
        slice_by: columns by which the test's metrics are sliced. A column of the candidates, such as a picture, gives
            ``with_<column>`` and ``without_<column>``: candidates with a value and without. A column of the queries,
            such as a language, gives ``<column>=<value>`` for each value.
        predict: which side ``predict`` embeds.
        objectives: in place of the source's label, by name: a column of 1 and 0, a comparison such as ``event == buy``,
            or None = every row is a positive. A row is liked if it is a positive of any objective.
        rating: column of numbers that a :class:`~dssm_lightning.losses.RatingHead` predicts; null = not rated.
        cache_dir: folder of the encoded data.

    Raises:
        UserError: a size below 1; no feature on a side; ``mask_duplicates`` without ``mask_known``;
            ``rows_per_query`` without effect, or beyond the length of a history; a bad objective.

    Example:
        >>> from dssm_lightning.data.sources import Synthetic
        >>> from dssm_lightning.data.splits import PerQuery
        >>> from dssm_lightning.features import Categorical, HashedWords
        >>> text, item = HashedWords(name="text", num_buckets=100), Categorical(name="candidate_id")
        >>> data = RetrievalData(Synthetic(60, 40), [text], [item], PerQuery(test=0.2), batch_size=32)
        >>> data.batch_size
        32
    """

    def __init__(
        self,
        source: Source,
        query: list[Feature],
        candidate: list[Feature],
        split: Split,
        *,
        batch_size: int = 1024,
        batch_by: Literal["row", "query"] = "row",
        rows_per_query: int | None = None,
        negatives: NegativeSampler | None = None,
        mask_known: bool = True,
        mask_duplicates: bool = False,
        frequency: Frequency | None = None,
        evaluate: Literal["query", "event", "listed"] = "query",
        rank: Literal["corpus", "held_out"] = "corpus",
        slice_by: list[str] | None = None,
        predict: Literal["query", "candidate"] = "candidate",
        objectives: dict[str, str | None] | None = None,
        rating: str | None = None,
        cache_dir: str = "cache",
    ) -> None:
        super().__init__()  # of LightningDataModule, where this class stands before it
        check_settings(batch_size, query, candidate, mask_known, mask_duplicates, batch_by, rows_per_query)
        explicit = (None, None) if negatives is None else (negatives.column, negatives.file)
        sides, several = (Schema(tuple(query)), Schema(tuple(candidate))), check_objectives(objectives, evaluate)
        self.recipe = Recipe(source, *sides, split, *explicit, evaluate == "listed", several, rating)
        self.cache_dir = Path(cache_dir)
        self.batch_size, self.batch_by, self.rows_per_query = batch_size, batch_by, rows_per_query
        self.negatives, self.mask_known, self.mask_duplicates = negatives, mask_known, mask_duplicates
        self.frequency, self.progress = frequency, Progress()
        self.evaluate, self.rank, self.slice_by, self.predict = evaluate, rank, slice_by or [], predict
        self._fitted: Schemas | None = None
        self._liked_only = False
        self._folder: Path | None = None
        self._assembler: Assembler | None = None

    # -- what a model asks of the data --------------------------------------------------------------------------------

    def encode_with(self, fitted: Schemas | None) -> None:
        """Encode with the schemas of a trained model; only ``fit`` fits. None keeps what was set before.

        Args:
            fitted: the features as a checkpoint or a built model has them.
        """
        if fitted is not None and fitted != self._fitted:
            self._fitted, self._folder, self._assembler = fitted, None, None

    def train_on_liked_rows_only(self, liked_only: bool) -> None:
        """Say whether training leaves out rows of label 0, for a loss that has no use for them."""
        if liked_only != self._liked_only:
            self._liked_only, self._assembler = liked_only, None

    # -- the prepared data --------------------------------------------------------------------------------------------

    def prepare(self) -> Path:
        """Encode all tables once, unless a cache of the same data and declarations exists. Returns its folder.

        Raises:
            UserError: whatever is wrong with the data; schemas of other features.
            OSError: a file cannot be read or written.
        """
        if self._folder is None:
            self._folder = prepare(self.recipe, self.cache_dir, self._fitted)
        return self._folder

    def assemble(self) -> Assembler:
        """Map the cache into memory and make a new assembler of batches."""
        data = read_prepared(self.recipe, self.prepare(), self._fitted)
        check_event_columns(data.event, self.evaluate, bool(self.mined_samplers))
        self._assembler = Assembler(
            data,
            sampler=self.negatives,
            mask_known=self.mask_known,
            liked_only=self._liked_only,
            by_query=self.batch_by == "query",
            frequency=self.frequency,
            mask_duplicates=self.mask_duplicates,
        )
        return self._assembler

    @property
    def assembler(self) -> Assembler:
        """The maker of batches."""
        return self.assemble() if self._assembler is None else self._assembler

    @property
    def data(self) -> cache.Prepared:
        """The prepared data, mapped into memory."""
        return self.assembler.data

    @property
    def folder(self) -> Path:
        """The folder of the encoded data."""
        return self.prepare()

    @property
    def schemas(self) -> Schemas:
        """The fitted features of both sides."""
        return self.data.schemas

    @property
    def labelled(self) -> bool:
        """Whether interactions carry labels."""
        return self.data.interactions.label is not None

    @property
    def num_candidates(self) -> int:
        """N, the size of the corpus."""
        return len(self.data.candidates)

    @property
    def popularity(self) -> Tensor:
        """(N,) int64 training positives of each candidate."""
        return torch.bincount(self.assembler.likes.candidates.values, minlength=self.num_candidates)

    @property
    def candidates(self) -> pl.DataFrame:
        """The corpus: the id column first, then its raw columns."""
        return self.data.candidates

    @property
    def mined_samplers(self) -> list[Hard]:
        """The samplers whose negatives are mined from the model between epochs."""
        parts = [] if self.negatives is None else self.negatives.parts
        return [sampler for sampler in parts if isinstance(sampler, Hard)]

    @property
    def share(self) -> tuple[int, int]:
        """The number of this process and how many there are; processes that share tables count as one."""
        return 0, 1

    def evaluation_batches(self, fold: int) -> ShardedBatches[EvaluationBatch]:
        """Return this process's share of a fold to be ranked."""
        return shard_evaluation(self.assembler, fold, self.evaluate, self.ranking(fold).rows, *self.share)

    def ranking(self, fold: int) -> Ranking:
        """Return which candidates the queries of a fold are ranked against.

        Raises:
            UserError: ``slice_by`` names an unknown column, or a column of too many values; lists of which none has
                both labels.
        """
        rows, longest = ranked_rows(self.assembler, fold, self.evaluate, self.rank)
        made = make_ranking(rows, self.popularity, self.slice_by, self.candidates, self.data.queries, longest)
        return made._replace(objectives=self.data.objectives)

    def corpus_batches(self, fold: int | None = None) -> ShardedBatches[Features]:
        """Return the features of the corpus, or of the candidates that a fold ranks: a contiguous share, in order."""
        rows = None if fold is None else self.ranking(fold).rows
        return shard_corpus(self.assembler, rows, *self.share)

    def query_batches(self) -> ShardedBatches[Features]:
        """Return the features of all queries: a contiguous share, in order."""
        return shard_features(self.assembler.query_features, len(self.data.queries), *self.share)

    def mining_batches(self, queries: Tensor | None = None) -> ShardedBatches[tuple[Tensor, Features]]:
        """Return this process's share of the queries that are mined for, with their features.

        Args:
            queries: rows of the query table; None = those of the first mined sampler.
        """
        rows = self.mined_samplers[0].queries if queries is None else queries
        return shard_mining_queries(self.assembler, rows, *self.share)
