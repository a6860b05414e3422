"""Runs and judgements (qrels) in TREC's format, which other evaluators read."""

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
from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.utils import distributed
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError, require_whole

RUN, QRELS = "run.trec", "qrels.trec"
TAG = "dssm_lightning"


class TrecFiles(Callback):
    """Writes ``run.trec`` and ``qrels.trec``, which trec_eval, ir_measures and ranx read.

    A line of the run is ``topic Q0 candidate rank score tag``. Each query has its first ``depth`` candidates, best
    first, without its training positives; equal scores are in the order of the corpus. With ``evaluate: listed`` it has
    those of its own list. A score has as many digits as its single precision needs: two scores are equal in the file
    only if they are equal in the model.

    A line of the judgements is ``topic 0 candidate grade``. Relevant candidates have their grade, or 1; candidates that
    were shown and not liked have 0. Queries without a relevant candidate are left out, as in our means.

    Topics and candidates are the ids of the source. White space separates columns in these formats, so white space,
    ``%`` and ``|`` in ids are percent-encoded (UTF-8). By event a topic is ``query|candidate``; where a query may have
    several lists, the topic of a list names its first candidate.

    Args:
        folder: where to write both files.
        depth: number of candidates of each query in the run.

    Raises:
        UserError: the folder is not empty; or depth is below 1.

    Example:
        >>> callback = TrecFiles("runs/trec-example", depth=100)  # Trainer(callbacks=[callback]).test(…) writes both
        >>> callback.depth
        100
    """

    def __init__(self, folder: str, depth: int = 1000) -> None:
        self.folder, self.depth = Path(folder), depth
        require_whole("test", "--trec_depth", depth)
        if self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UserError(f"--trec {folder} exists and is not empty: remove it, or choose another folder")
        self._ranked: list[Tensor] = []  # (T, 4) float64: query, event or −1, candidate, score
        self._judged: list[Tensor] = []  # (T, 4) float64: query, event or −1, candidate, grade

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: EvaluationBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the best of the scores (Q, N) or (Q, L), and the judgements of the batch."""
        scores: Tensor = outputs.clone()
        scores[batch.seen.rows, batch.seen.values.long()] = -torch.inf
        score, place = (each[:, : self.depth] for each in scores.sort(dim=1, descending=True, stable=True))
        row, column = (score > -torch.inf).nonzero().unbind(1)  # (T,) each
        candidate = place[row, column]
        if batch.listed is not None:
            candidate = batch.listed.values[batch.listed.offsets[row] + candidate].long()
        self._ranked.append(_entries(batch, row, candidate, score[row, column]))
        grade = torch.ones_like(batch.relevant.values) if batch.grade is None else batch.grade
        self._judged.append(_entries(batch, batch.relevant.rows, batch.relevant.values, grade))
        if batch.shown is not None:
            zeros = torch.zeros_like(batch.shown.values)
            self._judged.append(_entries(batch, batch.shown.rows, batch.shown.values, zeros))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the rankings and judgements of all processes."""
        ranked, judged = (distributed.gather_rows(torch.cat(each)).cpu() for each in (self._ranked, self._judged))
        self._ranked, self._judged = [], []
        if trainer.is_global_zero:
            data = datamodule_of(trainer)
            rows = data.ranking(TEST).rows
            if rows is not None:  # candidates are numbered among the ranked candidates, not in the corpus
                for entries in (ranked, judged):
                    entries[:, 2] = rows[entries[:, 2].long()].double()
            _write(self.folder / RUN, _run_columns(_lines(ranked, data.data)))
            _write(self.folder / QRELS, _qrels_columns(_lines(judged, data.data)))


def _run_columns(lines: pl.DataFrame) -> pl.DataFrame:
    rank = pl.int_range(1, pl.len() + 1).over("topic")
    score = pl.col("value").cast(pl.Float32).cast(pl.String)  # the fewest digits from which the same number is read
    return lines.select("topic", pl.lit("Q0").alias("Q0"), "candidate", rank=rank, score=score, tag=pl.lit(TAG))


def _qrels_columns(lines: pl.DataFrame) -> pl.DataFrame:
    lines = lines.filter((pl.col("value") > 0).any().over("topic"))  # other evaluators' means are over judged topics
    return lines.select("topic", pl.lit("0").alias("zero"), "candidate", grade=pl.col("value").cast(pl.Int64))


def _entries(batch: EvaluationBatch, row: Tensor, candidate: Tensor, value: Tensor) -> Tensor:
    """Return (T, 4): query and event of the batch's rows ``row`` (T,), candidate and value."""
    event = torch.full_like(batch.query_row, -1) if batch.row is None else batch.row
    return torch.stack([each.double() for each in (batch.query_row[row], event[row], candidate, value)], dim=1)


def _lines(entries: Tensor, data: Prepared) -> pl.DataFrame:
    """Return topic, candidate and value of entries (T, 4), sorted by topic in the order of the data."""
    key = torch.where(entries[:, 1] < 0, entries[:, 0], entries[:, 1])
    entries = entries[key.argsort(stable=True)]
    query, event, candidate = entries[:, :3].long().unbind(1)
    topic = encoded(data.queries.to_series(0))[query.numpy()]
    ids = encoded(data.candidates.to_series(0))
    if len(event) and int(event[0]) >= 0:
        topic = topic + "|" + ids[data.interactions.candidate[event].numpy()]
    return pl.DataFrame({"topic": topic, "candidate": ids[candidate.numpy()], "value": entries[:, 3].numpy()})


def encoded(ids: pl.Series) -> pl.Series:
    """Percent-encode white space, ``%`` and ``|`` in ids, and nothing else: (n,) -> (n,).

    Example:
        >>> encoded(pl.Series(["a b", "50%"])).to_list()
        ['a%20b', '50%25']
    """
    return pl.Series([re.sub(r"[\s%|]", lambda found: quote(found[0]), text) for text in ids.cast(pl.String)])


def _write(path: Path, lines: pl.DataFrame) -> None:
    """Write the columns, separated by blanks."""
    with atomic_write(path) as temporary:
        lines.write_csv(temporary, include_header=False, separator=" ", quote_style="never")
