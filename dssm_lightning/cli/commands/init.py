"""The command that looks at tables and writes a config for them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from dssm_lightning.utils.errors import UserError


def init(
    interactions: str,
    queries: str | None = None,
    candidates: str | None = None,
    output: str | None = None,
    force: bool = False,
    task: Literal["search", "recommend", "rerank"] | None = None,
    query_id: str | None = None,
    candidate_id: str | None = None,
    time: str | None = None,
    label: str | None = None,
    positive: str | None = None,
) -> str:
    """Look at your tables, and write a commented config that is good for them.

    What was found and what was decided is shown in tables. Nothing is asked: what cannot be known, such as what counts
    as liked, is proposed. The columns that play a part are found; each can be named.

    Args:
        interactions: table of events: who liked what, with further columns; CSV, TSV, JSON Lines or Parquet.
        queries: table with one row for each query; none = the queries of the interactions.
        candidates: table with one row for each candidate, or a folder of pictures; none = those of the interactions.
        output: the config to write; none = named after the file of the interactions.
        force: replace an existing config.
        task: what the model is for: to search by text, to recommend, or to order the lists of each query; none = it
            follows from the data.
        query_id: column of the query's id, or with the text that was asked.
        candidate_id: column of the candidate's id.
        time: column of the event's time.
        label: column with 1 for liked and 0 for shown and not liked.
        positive: what counts as liked, such as `stars >= 4`.

    Returns:
        the path of the config.
    """
    target = output_path(interactions, output, force)
    from dssm_lightning.cli.init_report import show_next, show_plan
    from dssm_lightning.inspection.plan import plan_of_files
    from dssm_lightning.utils.atomic_files import atomic_write

    parts = {"query_id": query_id, "candidate_id": candidate_id, "time": time, "label": label, "positive": positive}
    plan = plan_of_files(interactions, queries, candidates, task, **parts)
    show_plan(plan)
    with atomic_write(target) as temporary:
        temporary.write_text(plan.text(plan.head(str(target))), encoding="utf-8")
    show_next(str(target))
    return str(target)


def output_path(interactions: str, output: str | None, force: bool) -> Path:
    """Return the file to write.

    Raises:
        UserError: it exists and ``force`` is not given; its folder does not exist; it is no YAML file by its name.
    """
    given = f"{Path(interactions.rstrip('/')).name.split('.')[0].strip('*?') or 'config'}.yaml"
    path = Path(given if output is None else output).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        raise UserError(f"--output {path}: a config ends in .yaml")
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {str(path.parent)!r}; make it, or name another file")
    if path.is_dir():
        raise UserError(f"--output {path} is a folder; name a file, such as {path}/my-data.yaml")
    if path.exists() and not force:
        raise UserError(f"--output {path} exists already: name another file, or add --force to replace it")
    return path
