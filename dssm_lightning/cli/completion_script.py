"""The script by which a shell completes commands, options, and the files that they take."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from io import StringIO
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dssm_lightning.cli import trainer_verbs
from dssm_lightning.cli.commands.registry import COMMANDS, function_of, settings_class, without_result

PROGRAM = "dssm-lightning"
CONFIG = {"bash": "_dssm_lightning_configs", "zsh": "_files -g '(*.yaml|*.yml)'"}
CHECKPOINT = {"bash": "_dssm_lightning_checkpoints", "zsh": "_alternative 'names:name:(best last)' 'files:file:_files'"}
FUNCTIONS = {
    "bash": """\
_dssm_lightning_configs() {
  compgen -d -- "$1"
  compgen -f -X '!*.yaml' -- "$1"
  compgen -f -X '!*.yml' -- "$1"
}
_dssm_lightning_checkpoints() {
  compgen -W "best last" -- "$1"
  compgen -f -- "$1"
}
"""
}


def completion_script(shell: str) -> str:
    """Return the script for bash or zsh, by shtab.

    Raises:
        ModuleNotFoundError: shtab is not installed.
    """
    import shtab

    preamble: Any = FUNCTIONS  # by shell; the types of shtab know one text only
    return str(shtab.complete(_parser(), shell=shell, root_prefix="dssm_lightning", preamble=preamble))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM)
    verbs = parser.add_subparsers()
    settings = list(trainer_settings())
    for verb, about in trainer_verbs.ABOUT.items():
        own = verbs.add_parser(verb, help=about, add_help=False)
        pages = {**trainer_verbs.OPTIONS[verb], **trainer_verbs.OF_A_CHECKPOINT, **trainer_verbs.EVERY}
        short = [name.split(" ")[0].split("=")[0] for name in pages]
        for name in dict.fromkeys([*short, "--config", "--ckpt_path", "--help", *settings]):
            _add(own, name, str)
    for name, command in COMMANDS.items():
        own = verbs.add_parser(name, help=command.about, add_help=False)
        for option, kind in _options(name):
            _add(own, option, kind)
        for option in ("--help", "--trust"):
            _add(own, option, str)
    return parser


def _options(command: str) -> Iterator[tuple[str, Any]]:
    """Yield the options of a command that is a function, and their types."""
    function, settings = function_of(command), settings_class(command)
    hints = get_type_hints(without_result(function))  # without a type that only type checkers import
    _, positional, skipped, _ = COMMANDS[command]
    for name, parameter in inspect.signature(function).parameters.items():
        required = parameter.default is parameter.empty
        if skipped is None or name != skipped[0]:
            yield name if positional and required else f"--{name}", hints.get(name, str)
    for name, kind in {} if settings is None else get_type_hints(settings).items():
        yield f"--{name}", kind


def _add(parser: argparse.ArgumentParser, option: str, kind: Any) -> None:
    import shtab

    kinds = [kind, *get_args(kind)]
    chosen = next((get_args(each) for each in kinds if get_origin(each) is Literal), None)
    action: Any = parser.add_argument(option, choices=chosen, nargs="?" if kind is bool else None)
    if chosen is None and option == "--config":
        action.complete = CONFIG
    elif chosen is None and option == "--ckpt_path":
        action.complete = CHECKPOINT
    elif str in kinds or list[str] in kinds:
        action.complete = shtab.FILE


def trainer_settings() -> Iterator[str]:
    """Yield the options of all sections of a config, such as ``--data.batch_size``."""
    from dssm_lightning.cli.lightning_cli import TwoTowerCLI
    from dssm_lightning.utils.yaml_files import load_yaml

    written = StringIO()
    with redirect_stdout(written), suppress(SystemExit):
        TwoTowerCLI(["fit", "--print_config"])
    for section, values in load_yaml(written.getvalue()).items():
        if isinstance(values, dict):
            yield from (f"--{section}.{name}" for name in values)
