"""The command line: Lightning's fit, validate, test and predict, and plain functions beside them."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import torch
from lightning.pytorch.cli import LightningCLI
from rich.console import Console
from rich.table import Table

from dssm_lightning.cli.checkpoint_arguments import resolve_checkpoint
from dssm_lightning.cli.commands import registry
from dssm_lightning.cli.lightning_cli import TRAINER_VERBS, TwoTowerCLI
from dssm_lightning.cli.warning_filters import ignore_expected_warnings
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean


def main(args: list[str] | None = None) -> LightningCLI | Any:
    """Run a command.

    Args:
        args: what would stand on the command line; None = what stands there.

    Returns:
        the finished CLI for Lightning's verbs, what the function returns for the others.

    Raises:
        ValueError: no such command, or whatever the command has to say of its arguments or data.
    """
    arguments = sys.argv[1:] if args is None else list(args)
    verb = next(iter(arguments), "--help")
    if verb in ("-h", "--help"):
        _show_commands()
        sys.exit(0)
    if verb not in (known := [*TRAINER_VERBS, *registry.COMMANDS]):
        raise UserError(f"{verb!r} is no command; there are {', '.join(known)}{did_you_mean(verb, known)}")
    torch.set_float32_matmul_precision("high")
    with warnings.catch_warnings():
        ignore_expected_warnings()
        if verb in registry.COMMANDS:
            return registry.run(arguments)
        return TwoTowerCLI(resolve_checkpoint(arguments))


def _show_commands() -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for verb, about in TRAINER_VERBS.items():
        table.add_row(verb, about)
    for verb, command in registry.COMMANDS.items():
        table.add_row(verb, (command.__doc__ or "").partition("\n")[0])
    Console().print(
        "usage: dssm-lightning COMMAND [options], and dssm-lightning COMMAND --help\n",
        table,
        highlight=False,
        markup=False,  # [options] is none
    )
