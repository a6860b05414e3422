"""The command line: Lightning's verbs, and commands that are plain functions. Each loads what it needs, no more."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.commands.registry import COMMANDS, run_command
from dssm_lightning.cli.warning_filters import ignore_expected_warnings
from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import show_messages
from dssm_lightning.utils.renamed import renew_argument
from dssm_lightning.utils.suggestions import did_you_mean


def main(args: list[str] | None = None) -> Any:
    """Run a command.

    Args:
        args: the words of the command line; None = those of this process.

    Returns:
        the finished LightningCLI for Lightning's verbs, the function's result for the other commands.

    Raises:
        UserError: no such command, or whatever the command finds wrong with its arguments or data.
    """
    words = sys.argv[1:] if args is None else list(args)
    verb = next(iter(words), "--help")
    if verb in ("-h", "--help"):
        show_text(_overview())
        sys.exit(0)
    known = [*trainer_verbs.ABOUT, *COMMANDS]
    if verb not in known:
        raise UserError(f"{verb!r} is no command; there are {', '.join(known)}{did_you_mean(verb, known)}")
    show_messages()
    with warnings.catch_warnings():
        ignore_expected_warnings()
        if verb in COMMANDS:
            return run_command(words)
        return trainer_verbs.run(list(map(renew_argument, words)))


def _overview() -> str:
    about = trainer_verbs.ABOUT | {name: command.about for name, command in COMMANDS.items()}
    width = max(map(len, about)) + 2
    lines = [f"{name:<{width}}{text}" for name, text in about.items()]
    usage = "usage: dssm-lightning COMMAND [options], and dssm-lightning COMMAND --help"
    return "\n".join([usage, "", *lines])
