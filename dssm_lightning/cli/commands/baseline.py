"""The command that measures baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from dssm_lightning.utils.logger import log_file


def baseline(
    config: list[str], corpus_columns: list[str] | None = None, fold: Literal["test", "validation"] = "test"
) -> dict[str, dict[str, float]]:
    """Measure baselines, which need no training, by the same evaluation as a model.

    The metrics are written to ``baselines.json`` in the folder of the config's newest run, or in the working folder if
    there is no run. For test rows, the metrics of each query are written to ``per_query.<baseline>.parquet`` in the
    same folder, for ``compare``.

    Args:
        config: configs; a later one overrides settings of earlier ones.
        corpus_columns: candidate columns whose texts TF-IDF and BM25 search; None = the columns of the candidates'
            text features, and the training queries of ``LikedBy``.
        fold: the rows that are ranked.

    Returns:
        the metrics of each baseline, by the baseline's name with its settings.
    """
    from dssm_lightning.api import load_data
    from dssm_lightning.cli.checkpoint_arguments import find_checkpoint
    from dssm_lightning.evaluation.measure_baselines import measure_baselines
    from dssm_lightning.evaluation.metric_tables import show_comparison
    from dssm_lightning.evaluation.result_files import per_query, per_query_of, write_parquet
    from dssm_lightning.utils.atomic_files import atomic_write

    data = load_data(config)
    newest = find_checkpoint("best", config[0])
    folder = Path() if newest is None else newest.parent.parent
    results = {}
    for name, metrics, rows in measure_baselines(data, corpus_columns, fold):
        results[name] = metrics
        if fold == "test":
            write_parquet(folder / per_query_of(name), per_query(rows, data.data))
    with atomic_write(folder / "baselines.json") as temporary:
        temporary.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    show_comparison(results)
    log_file("all metrics", folder / "baselines.json")
    return results
