"""The command that mines hard negatives from a trained model into a file, for training with ``FromColumn``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.errors import UserError, require_choice
from dssm_lightning.utils.logger import log_file

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor

    from dssm_lightning.data.negatives import Hard
    from dssm_lightning.utils.ragged import Ragged

SUFFIXES = (".parquet", ".jsonl", ".csv")
SCORED = ("candidates", "scores")
"""Columns of scored candidates, as ``ColumnTeacher`` reads them."""


def mine(
    config: list[str] | None = None,
    ckpt_path: str = "best",
    rank_range: tuple[int, int] = (10, 60),
    margin: float | None = None,
    relative_margin: float | None = None,
    output: str = "mined.parquet",
    column: str = "negatives",
    scores: bool = False,
) -> pl.DataFrame:
    """Write hard negatives of each training query, mined from a trained model.

    Hard negatives are candidates that the model ranks high although the query is not known to like them.

    The file has a row for each query of the training rows: its id, and a list of candidate ids, best first (in CSV as
    JSON). ``FromColumn(column, file=output)`` reads it. The lists are the pools of the sampler ``Hard``, mined once.
    With ``scores`` it also has what a ``ColumnTeacher(output)`` reads: ``candidates``, the negatives and then the
    query's training positives, and ``scores``, their logits.

    Args:
        config: configs: the newest run of the first one is chosen, and their data are used, later ones over earlier
            ones; None = the newest run of any config, with its own data.
        ckpt_path: a checkpoint file, or best or last: the checkpoint of the newest run (of the config).
        rank_range: [first, end]: 0-based ranks with first ≤ rank < end. Known positives have no rank.
        margin: keep only candidates whose logit is lower than the mean of the query's positives by at least this much.
        relative_margin: the same as a fraction of the mean: 0.05 keeps logits of at most 95 % of the mean.
        output: the file, which ends in .parquet, .jsonl or .csv.
        column: the name of the column of lists.
        scores: also write the model's scores of these negatives and of the query's training positives, to learn from.

    Returns:
        the written table.
    """
    from dssm_lightning.cli.checkpoint_arguments import load_chosen
    from dssm_lightning.data.negatives import Hard
    from dssm_lightning.training.hard_negative_mining import mine_once, scored_pools

    path = Path(output)
    if scores and column in SCORED:
        raise UserError(f"mine: column is {column!r}, which --scores writes as well; choose another name")
    require_choice("mine", "the suffix of --output", path.suffix, SUFFIXES)
    sampler = Hard(1, rank_range, margin=margin, relative_margin=relative_margin)
    model, data = load_chosen(ckpt_path, config)
    total = mine_once(sampler, model, data)
    ids = data.candidates.to_series(0)
    mined = _table(sampler, data.data.queries.to_series(0), ids, column)
    if scores:
        lists, logits = scored_pools(sampler, model, data)
        mined = mined.with_columns(
            _lists(lists, ids[lists.values.numpy()], SCORED[0]), _lists(lists, logits, SCORED[1])
        )
    _write(path, mined)
    log_file(f"{total:,} queries, on average {len(sampler.pools.values) / total:.1f} negatives", path)
    return mined


def _table(sampler: Hard, queries: pl.Series, candidates: pl.Series, column: str) -> pl.DataFrame:
    """Return a row for each mined query: its id, and the ids of its pool."""
    import polars as pl

    pools, rows = sampler.pools, sampler.queries.numpy()
    owner = pl.Series("row", pools.rows.numpy())
    lists = pl.DataFrame({"row": owner, column: candidates[pools.values.numpy()]})
    lists = lists.group_by("row", maintain_order=True).agg(column)
    mined = pl.DataFrame({"row": rows, queries.name: queries[rows]}).join(
        lists, on="row", how="left", maintain_order="left"
    )
    return mined.select(queries.name, pl.col(column).fill_null([]))


def _lists(lists: Ragged, values: pl.Series | Tensor, name: str) -> pl.Series:
    """Return the values (T,) as one list for each row of ``lists``."""
    import polars as pl

    flat = values if isinstance(values, pl.Series) else pl.Series(values.numpy())
    frame = pl.DataFrame({"row": lists.rows.numpy(), name: flat})
    return frame.group_by("row", maintain_order=True).agg(name)[name]  # each query has a positive


def _write(path: Path, mined: pl.DataFrame) -> None:
    import polars as pl

    from dssm_lightning.utils.atomic_files import atomic_write

    with atomic_write(path) as temporary:
        if path.suffix == ".parquet":
            mined.write_parquet(temporary)
        elif path.suffix == ".jsonl":
            mined.write_ndjson(temporary)
        else:  # CSV has no lists
            lists = [name for name, kind in mined.schema.items() if isinstance(kind, pl.List)]
            texts = {n: [json.dumps(ids, ensure_ascii=False) for ids in mined[n].to_list()] for n in lists}
            mined.with_columns(pl.Series(n, text, dtype=pl.String) for n, text in texts.items()).write_csv(temporary)
