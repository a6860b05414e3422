"""Arguments made ready for jsonargparse.

``--ckpt_path best`` and ``last`` become files, and a run's own config is added where none is named; for the commands
that are plain functions, lists of texts and flags are written as JSON.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from dssm_lightning.training import run_folders
from dssm_lightning.training.checkpoint_files import furthest_readable, read_checkpoint
from dssm_lightning.utils.errors import UserError


def option(arguments: list[str], name: str) -> str | None:
    """The value of ``--name value`` or ``--name=value``; the last one counts."""
    found = None
    for place, argument in enumerate(arguments):
        if argument == f"--{name}" and place + 1 < len(arguments):
            found = arguments[place + 1]
        elif argument.startswith(f"--{name}="):
            found = argument.partition("=")[2]
    return found


def first_config(arguments: list[str]) -> str | None:
    """The first config that is named: runs are called after it, whatever is laid over it."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c"):
            return value if equals else next(iter(arguments[place + 1 :]), None)
    return None


def without(arguments: list[str], name: str) -> list[str]:
    """The arguments without this option and its value."""
    kept, skip = [], False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == f"--{name}":
            skip = True
        elif not argument.startswith(f"--{name}="):
            kept.append(argument)
    return kept


def find_checkpoint(which: str, config: str | None) -> Path | None:
    """The file that ``best``, ``last`` or a path means; None for ``best`` or ``last`` where there is none.

    A ``last`` that is damaged is passed over for what has been trained the furthest of its run.

    Raises:
        ValueError: a path where no file lies; no checkpoint of the run can be read.
    """
    if which == "best":
        return run_folders.newest_checkpoint(None if config is None else Path(config).stem, which)
    if which == "last":
        found = run_folders.newest_checkpoint(None if config is None else Path(config).stem, which)
        return None if found is None else _readable(found)
    if not Path(which).is_file():
        raise UserError(f"--ckpt_path {which}: no such file (a path, or best, or last)")
    return Path(which)


def _readable(last: Path) -> Path:
    """A run's last checkpoint, or the best of what is left."""
    try:
        read_checkpoint(last)
    except ValueError as error:
        instead = furthest_readable(last.parent)
        if instead is None:
            raise UserError(f"{error}; no other checkpoint in {last.parent} can be read either") from None
        warnings.warn(f"{last} is damaged or truncated and is passed over: {instead} is used instead", stacklevel=2)
        return instead
    return last


def resolve_checkpoint(arguments: list[str]) -> list[str]:
    """The arguments of a Lightning verb with the checkpoint as a file, and with a config.

    ``fit`` starts afresh where ``last`` is asked for and there is none. The other verbs measure ``best`` unless told
    otherwise: without a checkpoint they would measure random weights.

    Raises:
        ValueError: no checkpoint where one is needed.
    """
    verb, config, which = arguments[0], first_config(arguments), option(arguments, "ckpt_path")
    if any(flag in arguments for flag in ("-h", "--help")) or any(a.startswith("--print_config") for a in arguments):
        return arguments
    if which is None and verb == "fit":
        return arguments
    found = find_checkpoint(which or "best", config)
    if found is None:
        if verb == "fit":
            print(f"--ckpt_path {which}: no run has one yet, starting afresh")
            return without(arguments, "ckpt_path")
        raise UserError(
            f"{verb} needs a trained model, and no run of {config or 'any config'} under "
            f"{run_folders.RUNS.resolve()} has a {which or 'best'}.ckpt: fit first, or name a file with --ckpt_path"
        )
    arguments = [*without(arguments, "ckpt_path"), f"--ckpt_path={found}"]
    if config is None:
        run = run_folders.run_of(found)
        if run is None:
            raise UserError(f"--ckpt_path {found} lies in no run folder: name its config with --config")
        arguments[1:1] = [f"--config={run / 'config.yaml'}"]
    return arguments


def _checkpoint(which: str) -> Path:
    found = find_checkpoint(which, None)
    if found is None:
        raise UserError(f"no run under {Path('runs').resolve()} has a {which}.ckpt: fit first, or name a file")
    return found
