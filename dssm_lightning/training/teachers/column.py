"""A teacher that is a file of scores, such as the command ``mine`` writes it."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.sources import reading
from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.tables import positions
from dssm_lightning.training.teachers.base import Teacher, file_digest
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info


class ColumnTeacher(Teacher):
    """Scores of listed pairs, from a file: of another model, of people, or of ``mine --scores true``.

    A loss learns from the columns of a query that have a score, beside its own candidate. A row whose own candidate has
    no score teaches it nothing: such rows are counted when the fit begins. A guide keeps negatives without a score. To
    have the listed candidates in the batch, draw them: ``FromColumn`` reads the same file.

    Args:
        file: CSV, TSV, JSON Lines or Parquet file with the queries' id column and the two columns below. Either a row
            for each query, with two lists of equal length (in CSV and TSV as JSON), or a row for each pair.
        candidates: column of candidate ids.
        scores: column of their scores; null = no score. Of a repeated pair, the first score counts.

    Raises:
        UserError: in :meth:`open`, no such file; in :meth:`bind`, a missing column, lists of other lengths than their
            scores, scores that are no finite numbers, candidates that the corpus does not have, or a file that has a
            score of no training row's own candidate.

    Example:
        >>> str(ColumnTeacher("mined.parquet"))
        'mined.parquet'
    """

    partial = True

    def __init__(self, file: str, candidates: str = "candidates", scores: str = "scores") -> None:
        self.file, self.candidates, self.scores = file, candidates, scores
        self._read, self._digest = pl.DataFrame(), ""

    def open(self) -> None:
        """Read the file."""
        if not Path(self.file).is_file():
            raise UserError(f"teacher {self.file}: no such file")
        self._read, self._digest = reading.read(self.file, "teacher"), file_digest(Path(self.file))

    @property
    def signature(self) -> str:
        """The digest of the file, wherever it lies."""
        return f"ColumnTeacher {self._digest}"

    def __str__(self) -> str:
        """Return the path."""
        return self.file

    def bind(self, data: RetrievalData, device: torch.device) -> None:
        """Find the queries and the candidates of the file among these data."""
        prepared = data.data
        keys, score = self._pairs(prepared.queries.to_series(0), prepared.candidates.to_series(0))
        self._num_candidates, self._device = data.num_candidates, device
        order = keys.argsort(stable=True)
        keys, score = keys[order], score[order]
        first = torch.ones_like(keys, dtype=torch.bool)
        first[1:] = keys[1:] != keys[:-1]
        self._keys, self._score_of = keys[first], score[first]
        self._query = prepared.interactions.query
        rows = prepared.interactions.rows(TRAIN, label=1)
        own = self._score(rows, prepared.interactions.candidate[rows][:, None]).isnan()
        missing, total = int(own.sum()), len(rows)
        if missing == total:
            raise UserError(f"teacher {self.file} has a score of no training row's own candidate ({total:,} rows)")
        log_info(f"teacher {self.file}: {missing:,} of {total:,} training rows have no score of their own candidate")

    def _pairs(self, queries: pl.Series, candidates: pl.Series) -> tuple[Tensor, Tensor]:
        """Return (T,) keys and (T,) scores of the pairs whose query is in the data."""
        frame, where = self._read, f"teacher {self.file}"
        checks.columns(frame, self.file, [queries.name, self.candidates, self.scores], "teacher column")
        frame = _decoded(frame.select(queries.name, id=self.candidates, score=self.scores), where)
        if frame.schema["score"] == pl.List:
            unequal = frame.filter(pl.col("id").list.len() != pl.col("score").list.len())
            if len(unequal):
                raise UserError(
                    f"{where}: {len(unequal):,} lists of {self.candidates!r} have another length than their "
                    f"{self.scores!r}, first that of {queries.name} {unequal[queries.name][0]!r}"
                )
            frame = frame.explode("id", "score").filter(pl.col("id").is_not_null())
        frame = frame.filter(pl.col("score").is_not_null())
        score = frame["score"].cast(pl.Float32, strict=False)
        wrong = frame["score"].filter(~score.is_finite().fill_null(False))
        if len(wrong):
            raise UserError(
                f"{where}: {len(wrong):,} values of {self.scores!r} are no finite numbers, first {wrong[0]!r}"
            )
        query = positions(frame[queries.name].cast(queries.dtype, strict=False), queries)
        column = positions(frame["id"].cast(candidates.dtype, strict=False), candidates)
        known = query >= 0
        if (unknown := frame["id"].filter(pl.Series((known & (column < 0)).numpy()))).len():
            raise UserError(
                f"{where}: {self.candidates!r} lists {len(unknown):,} candidates that the corpus does not have, first "
                f"{unknown[0]!r}"
            )
        return (query * len(candidates) + column)[known], torch.from_numpy(score.to_numpy().copy())[known]

    def _score(self, rows: Tensor, candidates: Tensor) -> Tensor:
        keys = self._query[rows.cpu(), None] * self._num_candidates + candidates.cpu()  # (Q, C) or (Q, n)
        place = torch.searchsorted(self._keys, keys).clamp_(max=len(self._keys) - 1)
        found = self._keys[place] == keys
        return self._score_of[place].masked_fill(~found, torch.nan).to(self._device)


def _decoded(frame: pl.DataFrame, where: str) -> pl.DataFrame:
    """Return the frame with lists or single values in place of JSON and text."""
    score = frame["score"]
    if score.dtype != pl.String:
        return frame
    try:
        if score.str.starts_with("[").any():
            kinds = {"id": pl.List(pl.String), "score": pl.List(pl.Float64)}
            return frame.with_columns(pl.col(name).str.json_decode(kind) for name, kind in kinds.items())
        return frame.with_columns(pl.col("score").cast(pl.Float64))
    except pl.exceptions.PolarsError as error:
        raise UserError(
            f"{where}: the scores are neither numbers nor JSON lists: {str(error).splitlines()[0]}"
        ) from error
