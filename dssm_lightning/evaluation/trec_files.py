"""Runs and judgements in TREC's format, which other evaluators read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.interactions import TEST
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.utils import distributed
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError

RUN, QRELS = "run.trec", "qrels.trec"
TAG = "dssm_lightning"


class TrecFiles(Callback):
    """Writes ``run.trec`` and ``qrels.trec``, as trec_eval, ir_measures and ranx read them.

    A line of the run is ``topic Q0 candidate rank score tag``: of each query the first ``depth`` candidates, best
    first, without those that it liked in training; equal scores are in the order of the corpus. A score has all the
    digits that its single precision needs, so that ties, and only they, are ties. A line of the judgements is ``topic 0
    candidate grade``: the relevant candidates with their grade, or 1, and with 0 what was shown and not liked. Queries
    without a relevant candidate are not judged: as here, means are over the others.

    Topics and candidates are the ids of the source, in which white space, ``%`` and ``|`` are percent-encoded (UTF-8),
    as these formats separate by white space. By event a topic is ``query|candidate``.

    Args:
        folder: where they are written.
        depth: candidates of each query.

    Raises:
        ValueError: the folder has something in it; a depth below 1.
    """

    def __init__(self, folder: str, depth: int = 1000) -> None:
        self.folder, self.depth = Path(folder), depth
        if depth < 1:
            raise UserError(f"--trec_depth is {depth}; a run holds at least 1 candidate of each query")
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UserError(f"--trec {folder} exists and is not empty: remove it, or name another folder")
        self._ranked: list[Tensor] = []  # (T, 4) float64: query, event or −1, candidate, score; then of what is judged
        self._judged: list[Tensor] = []  # likewise, with the grade

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: EvaluationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the best of the scores (Q, N), and what is known of the queries."""
        scores: Tensor = outputs.clone()
        scores[batch.seen.rows, batch.seen.values.long()] = -torch.inf
        score, candidate = (part[:, : self.depth] for part in scores.sort(dim=1, descending=True, stable=True))
        row, column = (score > -torch.inf).nonzero().unbind(1)  # (T,) each
        self._ranked.append(_entries(batch, row, candidate[row, column], score[row, column]))
        grade = torch.ones_like(batch.relevant.values) if batch.grade is None else batch.grade
        self._judged.append(_entries(batch, batch.relevant.rows, batch.relevant.values, grade))
        if batch.shown is not None:
            none = torch.zeros_like(batch.shown.values)
            self._judged.append(_entries(batch, batch.shown.rows, batch.shown.values, none))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what all ranks have found."""
        ranked, judged = (distributed.gather_rows(torch.cat(part)).cpu() for part in (self._ranked, self._judged))
        self._ranked, self._judged = [], []
        if trainer.is_global_zero:
            data: Prepared = trainer.datamodule.data  # type: ignore[attr-defined]  # Lightning sets it, untyped
            rows = trainer.datamodule.ranking(TEST).rows  # type: ignore[attr-defined]  # likewise
            if rows is not None:  # candidates are numbered by their place among those that are ranked
                for entries in (ranked, judged):
                    entries[:, 2] = rows[entries[:, 2].long()].double()
            run, qrels = _lines(ranked, data), _lines(judged, data)
            rank = pl.int_range(1, pl.len() + 1).over("topic")
            score = pl.col("value").cast(pl.Float32).cast(pl.String)  # the fewest digits that give the number again
            _write(
                self.folder / RUN, run.select("topic", Q0=pl.lit("Q0"), c="candidate", r=rank, s=score, t=pl.lit(TAG))
            )
            grade = pl.col("value").cast(pl.Int64)
            qrels = qrels.filter((pl.col("value") > 0).any().over("topic"))  # as here, others' means are over these
            _write(self.folder / QRELS, qrels.select("topic", zero=pl.lit("0"), c="candidate", g=grade))


def _entries(batch: EvaluationBatch, row: Tensor, candidate: Tensor, value: Tensor) -> Tensor:
    """(T, 4): the query and the event of a batch's rows (T,), a candidate and a value each."""
    event = torch.full_like(batch.query_row, -1) if batch.row is None else batch.row
    return torch.stack([part.double() for part in (batch.query_row[row], event[row], candidate, value)], dim=1)


def _lines(entries: Tensor, data: Prepared) -> pl.DataFrame:
    """Topic, candidate and value of entries (T, 4): topics in the order of the data, each with its own in theirs."""
    key = torch.where(entries[:, 1] < 0, entries[:, 0], entries[:, 1])
    entries = entries[key.argsort(stable=True)]
    query, event, candidate = entries[:, :3].long().unbind(1)
    topic = encoded(data.queries.to_series(0))[query.numpy()]
    ids = encoded(data.candidates.to_series(0))
    if len(event) and int(event[0]) >= 0:
        topic = topic + "|" + ids[data.interactions.candidate[event].numpy()]
    return pl.DataFrame({"topic": topic, "candidate": ids[candidate.numpy()], "value": entries[:, 3].numpy()})


def encoded(ids: pl.Series) -> pl.Series:
    """(n,) ids as words without white space: ``a b`` becomes ``a%20b``; nothing else but ``%`` and ``|`` changes."""
    return pl.Series([re.sub(r"[\s%|]", lambda found: quote(found[0]), text) for text in ids.cast(pl.String)])


def _write(path: Path, lines: pl.DataFrame) -> None:
    """Columns with blanks between."""
    with atomic_write(path) as temporary:
        lines.write_csv(temporary, include_header=False, separator=" ", quote_style="never")
