"""The command that measures baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from dssm_lightning.utils.logger import log_file


def baseline(
    config: list[str] | None = None,
    ckpt_path: str | None = None,
    corpus_columns: list[str] | None = None,
    fold: Literal["test", "validation"] = "test",
    only: list[str] | None = None,
    l2: list[float] | None = None,
    days: list[float] | None = None,
    output: str | None = None,
) -> dict[str, dict[str, float]]:
    """Measure baselines, which need no training, by the same evaluation as a model.

    The metrics are written to ``baselines.json`` in the folder of the config's newest finished run, and for test rows
    the metrics of each query to ``per_query.<baseline>.parquet`` beside it, for ``compare``. Without a run nothing is
    written. Chosen baselines (``only``) are added to those of an earlier call.

    Args:
        config: configs; a later one overrides settings of earlier ones; None = the data of the newest run.
        ckpt_path: a checkpoint file, or best or last: the metrics are written into the folder of its run.
        corpus_columns: candidate columns whose texts TF-IDF and BM25 search; None = the columns of the candidates'
            text features, and the training queries of ``LikedBy``.
        fold: the rows that are ranked.
        only: measure these baselines only, such as EASE or BM25; None = every baseline that the data allow.
        l2: penalties of EASE; None = 100, 300 and 1000.
        days: windows of RecentPopularity in days; None = 1, 7 and 30.
        output: a JSON file that gets the metrics, in place of the run's folder.

    Returns:
        the metrics of each baseline, by the baseline's name with its settings.
    """
    from dssm_lightning.cli.checkpoint_arguments import chosen_data
    from dssm_lightning.evaluation.measure_baselines import measure_baselines
    from dssm_lightning.evaluation.metric_tables import show_comparison
    from dssm_lightning.evaluation.result_files import per_query, per_query_of, write_parquet

    data, run = chosen_data(config, ckpt_path)
    run = run if output is None else None
    results = {}
    measured = measure_baselines(data, corpus_columns, fold, only=only or [], l2=l2 or [], days=days or [])
    for name, metrics, rows in measured:
        results[name] = metrics
        if fold == "test" and run is not None:
            write_parquet(run / per_query_of(name), per_query(rows, data.data))
    path = Path(output) if output is not None else None if run is None else run / "baselines.json"
    if path is not None:
        _write(path, results, keep=run is not None and only is not None)
    show_comparison(results)
    if path is not None:
        log_file("all metrics", path)
    return results


def _write(path: Path, results: dict[str, dict[str, float]], keep: bool) -> None:
    """Write the metrics of each baseline, beside those of baselines that the file has already if they are kept."""
    from dssm_lightning.utils.atomic_files import atomic_write

    earlier = json.loads(path.read_text(encoding="utf-8")) if keep and path.is_file() else {}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps({**earlier, **results}, indent=1) + "\n", encoding="utf-8")
