"""The command that lists the runs of the working folder."""

from __future__ import annotations

import json as json_format
from dataclasses import asdict
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import show_text

if TYPE_CHECKING:
    from dssm_lightning.training.run_list import Run

NEWEST = 20


def runs(config: list[str] | None = None, json: bool = False, all: bool = False) -> list[Run]:
    """List the runs of the working folder: what they reached, and how they ended.

    The newest stands last.

    Args:
        config: only the runs that were named after these configs.
        json: print a JSON array with every value instead of a table.
        all: list all runs; else the newest 20.

    Returns:
        the runs.
    """
    from dssm_lightning.cli.run_table import show_runs
    from dssm_lightning.training.run_folders import RUNS, run_name
    from dssm_lightning.training.run_list import list_runs

    found, left_out = list_runs([run_name(each) for each in config] if config else None, None if all else NEWEST)
    if json:
        show_text(json_format.dumps([asdict(run) for run in found], ensure_ascii=False))
    elif not found:
        show_text(f"no run of {', '.join(config or ['any config'])} under {RUNS.resolve()}: fit makes them")
    else:
        show_runs(found, left_out)
    return found
