"""Baselines of a fold of the data, measured once: their values for each query are kept beside the encoded data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import polars as pl
import torch

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.baselines import Baseline, BaselineData, ItemKNN, choose_baselines
from dssm_lightning.evaluation.baselines.choice import name_of
from dssm_lightning.evaluation.baselines.cost import affordable
from dssm_lightning.evaluation.measure_baselines import baseline_data, rank_by
from dssm_lightning.evaluation.metrics import RowValues
from dssm_lightning.evaluation.result_files import write_parquet
from dssm_lightning.utils.logger import log_info

VERSION = 1
"""Increase this number when a baseline with the same name ranks in another way."""
IN_A_TABLE = ("Popularity", "RecentPopularity", "EASE", "ItemKNN", "LabelMeans", "TfIdf", "BM25")
"""Baselines that stand beside a model: ItemKNN only where EASE is left out."""
FOLDER = "baselines"


def measured_baselines(
    data: RetrievalData, fold: int, like: RowValues, metrics: list[str], ks: list[int] | None, limit: float
) -> dict[str, RowValues]:
    """Return the metrics of each query by the baselines that the data allow, by name.

    What would take too long is left out, with a line that says so.

    Args:
        data: the rows to fit on and to rank.
        fold: VALIDATION or TEST.
        like: the rows that are ranked, as a model has ranked them.
        metrics: the metrics that count.
        ks: cut-offs of the metrics; None = the usual ones.
        limit: seconds of one core that may be spent.
    """
    if len(data.evaluation_batches(fold)) * data.ranking(fold).size > limit * 1e9:
        log_info(f"the baselines are not measured, since this would take more than {limit:.0f} s: see `baseline`")
        return {}
    known = baseline_data(data, None, fold)
    chosen = _of_a_table(choose_baselines(known))
    kept = {str(each): _read(_file(data, fold, metrics, ks, each), like, metrics) for each in chosen}
    missing = [each for each in chosen if kept[str(each)] is None]
    wanted, left_out = affordable(missing, known, len(like.query), data.ranking(fold).size, limit)
    if left_out:
        names = ", ".join(dict.fromkeys(map(name_of, left_out)))
        log_info(f"{names}: not measured, since this would take more than {limit:.0f} s: baseline --only {names[:1]}…")
    found = dict(_measure(wanted, known, data, fold, metrics, ks))
    return {name: rows for name in kept if (rows := found.get(name, kept[name])) is not None}


def _of_a_table(baselines: list[Baseline]) -> list[Baseline]:
    names = {name_of(each) for each in baselines}
    return [
        each
        for each in baselines
        if name_of(each) in IN_A_TABLE and not (isinstance(each, ItemKNN) and "EASE" in names)
    ]


def _measure(
    baselines: list[Baseline],
    known: BaselineData,
    data: RetrievalData,
    fold: int,
    metrics: list[str],
    ks: list[int] | None,
) -> Iterator[tuple[str, RowValues]]:
    """Yield the name and the values of each baseline, and keep the values."""
    for baseline, result in zip(baselines, rank_by(baselines, known, data, fold, ks), strict=True):
        columns = [result.rows.names.index(name) for name in metrics]
        rows = result.rows._replace(names=metrics, values=result.rows.values[:, columns])
        with suppress(OSError):  # a folder of another user, or a full disk: they are measured again
            _write(_file(data, fold, metrics, ks, baseline), rows)
        yield result.name, rows


def _file(data: RetrievalData, fold: int, metrics: list[str], ks: list[int] | None, baseline: Baseline) -> Path:
    """Return where the values of a baseline are kept: the name depends on everything that they depend on."""
    parts = [VERSION, data.folder.name, fold, data.evaluate, data.rank, metrics, ks, baseline]
    name = hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:20]
    return data.cache_dir / FOLDER / f"{name}.parquet"


def _write(path: Path, rows: RowValues) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {"query": rows.query.numpy(), "event": (rows.query if rows.event is None else rows.event).numpy()}
    values = {f"value {number}": column.numpy() for number, column in enumerate(rows.values.unbind(1))}
    write_parquet(path, pl.DataFrame({**keys, **values}))


def _read(path: Path, like: RowValues, metrics: list[str]) -> RowValues | None:
    """Return the values that are kept of the rows of a model; None if there are none, or others."""
    if not path.is_file():
        return None
    try:
        frame = pl.read_parquet(path)
        keys = torch.from_numpy(frame.select("query", "event").to_numpy(writable=True))
        columns = [f"value {number}" for number in range(len(metrics))]
        values = torch.from_numpy(frame.select(columns).to_numpy(writable=True))
    except (OSError, pl.exceptions.PolarsError):
        return None
    own = torch.stack([like.query, like.query if like.event is None else like.event], dim=1)
    same = keys.shape == own.shape and bool((keys == own).all())
    return RowValues(metrics, like.query, like.event, values.float()) if same else None
