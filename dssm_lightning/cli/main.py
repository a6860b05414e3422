"""The command line: Lightning's verbs, and commands that are plain functions. Each loads what it needs, no more."""

from __future__ import annotations

import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.command_arguments import require_unicode
from dssm_lightning.cli.commands.registry import COMMANDS, run_command
from dssm_lightning.cli.help_pages import option_lines, wrapped
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
    words, trusted = take_values(sys.argv[1:] if args is None else list(args), "--trust")
    require_unicode(words)
    verb = next(iter(words), "--help")
    if verb in ("-h", "--help"):
        show_text(_overview())
        sys.exit(0)
    known = [*trainer_verbs.ABOUT, *COMMANDS]
    if verb not in known:
        raise UserError(f"{verb!r} is no command; there are {', '.join(known)}{did_you_mean(verb, known)}")
    show_messages()
    with warnings.catch_warnings(), _trusting(trusted):
        ignore_expected_warnings()
        if verb in COMMANDS:
            return run_command(words)
        return trainer_verbs.run(list(map(renew_argument, words)))


def take_values(words: list[str], option: str) -> tuple[list[str], list[str]]:
    """Return the words without an option that may be repeated, and its values.

    Raises:
        UserError: the option has no value.

    Example:
        >>> take_values(["search", "--trust", "my_shop", "--query", "red shoes"], "--trust")
        (['search', '--query', 'red shoes'], ['my_shop'])
    """
    kept, values, waiting = [], [], iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name != option:
            kept.append(word)
        elif equals:
            values.append(value)
        elif (following := next(waiting, None)) is None:
            raise UserError(f"{option} needs a value")
        else:
            values.append(following)
    return kept, values


def _trusting(modules: list[str]) -> AbstractContextManager[None]:
    if not modules:
        return nullcontext()
    from dssm_lightning.utils.trusted_classes import trusting  # needs jsonargparse, which --help does not

    return trusting(modules)


def _overview() -> str:
    about = trainer_verbs.ABOUT | {name: command.about for name, command in COMMANDS.items()}
    lines = option_lines(about, indent="")
    usage = "usage: dssm-lightning COMMAND [options], and dssm-lightning COMMAND --help"
    trust = "--trust MODULE, with any command: a checkpoint or a found config may name what this module of yours holds"
    return "\n".join([wrapped(usage), "", *lines, "", wrapped(trust)])
