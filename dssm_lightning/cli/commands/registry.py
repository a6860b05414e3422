"""Commands that need no trainer: plain functions whose arguments are the options of the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dssm_lightning.cli.command_arguments import as_json
from dssm_lightning.cli.commands.baseline import baseline
from dssm_lightning.cli.commands.compare import compare
from dssm_lightning.cli.commands.curves import curves
from dssm_lightning.cli.commands.hashing_report import hashing_report
from dssm_lightning.cli.commands.mine import mine
from dssm_lightning.cli.commands.score import score
from dssm_lightning.cli.commands.search import search
from dssm_lightning.cli.commands.summary import summary
from dssm_lightning.cli.spelling_parser import SpellingParser

COMMANDS: dict[str, Callable[..., Any]] = {
    each.__name__.replace("_", "-"): each
    for each in (baseline, search, score, summary, compare, curves, mine, hashing_report)
}


def run(arguments: list[str]) -> Any:
    """Run the command that the first argument names, with the others as its options."""
    name, *options = arguments
    command = COMMANDS[name]
    description = (command.__doc__ or "").partition("\n")[0]
    parser = SpellingParser(prog=f"dssm-lightning {name}", description=description)
    # auto_cli would take --config for itself; what is compared needs no name
    parser.add_function_arguments(command, as_group=False, as_positional=command is compare)
    return command(**parser.parse_args(as_json(options, command)).as_dict())
