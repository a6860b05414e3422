"""Write configs/templates anew: what `init` says of the small tables in examples/tables.

    python scripts/build_templates.py [FOLDER]

Run it in the folder of the repository after a rule of `init` has changed, and read the difference.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dssm_lightning.inspection.plan import plan_of_files
from dssm_lightning.inspection.rules.situation import Task

TABLES = Path("examples/tables")
TEMPLATES: dict[str, tuple[str, str | None, str, Task | None]] = {
    "search": ("search/searches.csv", None, "search/pages.csv", None),
    "recommend": ("recommend/purchases.csv", "recommend/users.csv", "recommend/items.csv", None),
    "rerank": ("rerank/judged.csv", "rerank/questions.csv", "rerank/answers.csv", "rerank"),
    "images": ("images/names.csv", None, "images/pictures.csv", None),
    "labels": ("labels/shown.csv", "labels/users.csv", "labels/items.csv", None),
}
"""The interactions, the queries, the candidates and the task of each template."""


def text_of(name: str) -> str:
    """Return the text of a template."""
    *tables, task = TEMPLATES[name]
    interactions, queries, candidates = (None if table is None else str(TABLES / str(table)) for table in tables)
    plan = plan_of_files(str(interactions), queries, candidates, task)
    return plan.text(plan.head(f"configs/templates/{name}.yaml"))


def main() -> None:
    """Write all templates."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "configs/templates")
    folder.mkdir(parents=True, exist_ok=True)
    for name in TEMPLATES:
        (folder / f"{name}.yaml").write_text(text_of(name), encoding="utf-8")
        print(folder / f"{name}.yaml")


if __name__ == "__main__":
    main()
