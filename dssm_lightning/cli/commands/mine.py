"""The command that mines hard negatives from a trained model into a file, which ``FromColumn`` trains on."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from dssm_lightning.cli.checkpoint_arguments import find_checkpoint
from dssm_lightning.data.batching.evaluation_batches import shard_mining_queries
from dssm_lightning.data.negatives import Hard
from dssm_lightning.training.hard_negative_mining import evaluating
from dssm_lightning.training.hard_negative_mining import mine_pools as mine_pools
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.errors import UserError

SUFFIXES = (".parquet", ".jsonl", ".csv")


def mine(
    config: list[str] | None = None,
    ckpt_path: str = "best",
    rank_range: tuple[int, int] = (10, 60),
    margin: float | None = None,
    relative_margin: float | None = None,
    output: str = "mined.parquet",
    column: str = "negatives",
) -> pl.DataFrame:
    """Write what a trained model ranks high for each training query, and nobody likes, to train on as negatives.

    A row for each query of the training rows: its id, and a list of candidate ids, best first (in CSV as JSON), as
    ``FromColumn(column, file=output)`` reads it. What the query is known to like is left out. The pools are those of
    ``Hard``, mined once.

    Args:
        config: configs whose data are mined; None = those of the checkpoint's run.
        ckpt_path: a checkpoint of a run, or best, or last: of the newest run (of the config).
        rank_range: [first, end]: 0-based ranks first ≤ rank < end, known positives not counted.
        margin: only what scores at least this much below the mean of the query's positives, in units of the logits.
        relative_margin: likewise, as a part of that mean: .05 keeps what scores at most 95 % of it.
        output: a file .parquet, .jsonl or .csv.
        column: name of the lists.

    Returns:
        what was written.
    """
    from dssm_lightning.api import load_data, load_run

    path = Path(output)
    if path.suffix not in SUFFIXES:
        raise UserError(f"--output {output}: negatives are written as {', '.join(SUFFIXES)}")
    sampler = Hard(1, rank_range, margin=margin, relative_margin=relative_margin)
    found = find_checkpoint(ckpt_path, config[0] if config else None)
    if found is None:
        raise UserError(f"no run of {config[0] if config else 'any config'} has a {ckpt_path}.ckpt: fit first")
    model, data = load_run(found)
    if config:
        fitted, data = data.fitted, load_data(config)
        data.fitted = fitted
    if data.data.event:
        raise UserError(
            f"mine: each query is mined once, but {sorted(data.data.event)} are columns of the interactions, one value "
            "for each event: put the columns into the query table"
        )
    sampler.bind(data.data.interactions, len(data.data.queries), data.num_candidates)
    with evaluating(model):
        corpus = model.embed_corpus(data.corpus_batches(), data.num_candidates)
        batches = shard_mining_queries(data.assembler, sampler.queries, 0, 1)
        total = mine_pools([sampler], batches, lambda query: model.score(query, corpus), 0)
    mined = _frame(sampler, data.data.queries.to_series(0), data.candidates.to_series(0), column)
    _write(path, mined, column)
    print(f"{total:,} queries, on average {len(sampler.pools.values) / total:.1f} negatives: {path}")
    return mined


def _frame(sampler: Hard, queries: pl.Series, candidates: pl.Series, column: str) -> pl.DataFrame:
    """A row for each mined query: its id, and the ids of its pool."""
    pools, rows = sampler.pools, sampler.queries.numpy()
    owner = pl.Series("row", pools.rows.numpy())
    lists = pl.DataFrame({"row": owner, column: candidates[pools.values.numpy()]})
    lists = lists.group_by("row", maintain_order=True).agg(column)
    mined = pl.DataFrame({"row": rows, queries.name: queries[rows]}).join(
        lists, on="row", how="left", maintain_order="left"
    )
    return mined.select(queries.name, pl.col(column).fill_null([]))


def _write(path: Path, mined: pl.DataFrame, column: str) -> None:
    with atomic_write(path) as temporary:
        if path.suffix == ".parquet":
            mined.write_parquet(temporary)
        elif path.suffix == ".jsonl":
            mined.write_ndjson(temporary)
        else:  # CSV has no lists
            texts = [json.dumps(ids, ensure_ascii=False) for ids in mined[column].to_list()]
            mined.with_columns(pl.Series(column, texts, dtype=pl.String)).write_csv(temporary)
