"""The command that measures what needs no training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from dssm_lightning.cli.checkpoint_arguments import find_checkpoint
from dssm_lightning.reports.metric_tables import print_metrics


def baseline(
    config: list[str], corpus_columns: list[str] | None = None, fold: Literal["test", "validation"] = "test"
) -> dict[str, dict[str, float]]:
    """Measure what needs no training, fitted on the same rows and ranked by the same evaluation.

    Writes ``baselines.json`` beside the newest run of the config, or into the working folder where there is none, and
    from the test rows ``per_query.<baseline>.parquet``, which ``compare`` reads.

    Args:
        config: configs, later ones over earlier ones.
        corpus_columns: candidate columns whose text TF-IDF and BM25 search; by default all that the candidates' text
            features read, the training queries of ``LikedBy`` too.
        fold: what is ranked.

    Returns:
        the metrics of each baseline, by its name with its settings.
    """
    from dssm_lightning.api import load_data
    from dssm_lightning.evaluation.measure_baselines import measure_baselines

    data = load_data(config)
    newest = find_checkpoint("best", config[0])
    folder = Path() if newest is None else newest.parent.parent
    results = measure_baselines(data, corpus_columns, fold, folder if fold == "test" else None)
    (folder / "baselines.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print_metrics(results)
    print(f"all metrics: {folder / 'baselines.json'}")
    return results
