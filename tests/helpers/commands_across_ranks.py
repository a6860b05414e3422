"""Runs command lines (a JSON list of lists) one after the other in two ranks, which share one start of Python."""

from __future__ import annotations

import json
import os
import sys

from helpers.ranks import fork

from dssm_lightning.cli.main import main


def work(rank: int, world_size: int, lines: list[list[str]]) -> None:
    """One rank: as if a launcher had started it for each line."""
    for line in lines:
        os.environ |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0"}
        main([*line, "--trainer.strategy=ddp", f"--trainer.devices={world_size}", "--trainer.accelerator=cpu"])


if __name__ == "__main__":
    fork(work, 2, json.loads(sys.argv[1]))
