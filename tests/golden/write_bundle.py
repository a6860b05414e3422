"""Write the bundle of a golden run, and the answers that it must give for good: ``write_bundle.py RELEASE NAME``."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from dssm_lightning import Retriever, load_data
from dssm_lightning.api import export_bundle

GOLDEN = Path(__file__).parent
SEARCHES: list[dict[str, Any]] = [
    {},
    {"exclude_history": True},
    {"filter": "group in ('group-1', 'group-2') and created >= '2024-01-15'"},
    {"hybrid": 1.0},
    {"exclude": ["c0", "c5"], "filter": "not tags = 'male'"},
]


def queries_of(config: Path) -> list[dict[str, Any]]:
    """Raw queries of a run's data, one with a column alone, and one of unknown values."""
    table = load_data([config]).data.queries
    read = [name for name in ("tags", "size", "created", "text", "vector") if name in table.columns]
    rows = [dict(zip(read, row, strict=True)) for row in table.select(read).head(4).iter_rows()]
    histories = [["c1", "c2"], ["c39"], [], ["unknown", "c7"]]
    found = [{**row, "history": history, "seen": history[:1]} for row, history in zip(rows, histories, strict=True)]
    unknown = {**rows[0], "tags": ["never seen"], "text": "zzz", "history": [], "seen": []}
    return json.loads(json.dumps([*found, unknown], default=lambda value: value.isoformat()))  # as a caller has them


def answers_of(retriever: Retriever, queries: list[dict[str, Any]]) -> list[list[list[list[Any]]]]:
    """For each search, for each query: the ids and the scores of 5 hits."""
    return [
        [[[hit.id, hit.score] for hit in hits] for hits in retriever.search_all(queries, 5, **options)]
        for options in SEARCHES
    ]


def main(release: str, name: str) -> None:
    """Export ``tests/golden/<release>`` to ``tests/golden/<name>``, and write ``<name>.json`` beside it."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "runs", "golden", "version_0")
        shutil.copytree(GOLDEN / release, run)
        os.chdir(folder)  # caches are written to the working folder
        export_bundle(run / "checkpoints" / "last.ckpt", GOLDEN / name)
        queries = queries_of(run / "config.yaml")
    with Retriever.load(GOLDEN / name) as retriever:
        values = {"queries": queries, "searches": SEARCHES, "answers": answers_of(retriever, queries)}
    (GOLDEN / f"{name}.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
