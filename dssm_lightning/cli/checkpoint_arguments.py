"""Find the checkpoint and the config of a command line: ``--ckpt_path best`` and ``last`` become files."""

from __future__ import annotations

from pathlib import Path

from dssm_lightning.training import run_folders
from dssm_lightning.training.checkpoint_files import furthest_readable, read_checkpoint
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn


def option(arguments: list[str], name: str) -> str | None:
    """Return the last value of ``--name value`` or ``--name=value``, or None without this option."""
    found = None
    for place, argument in enumerate(arguments):
        if argument == f"--{name}" and place + 1 < len(arguments):
            found = arguments[place + 1]
        elif argument.startswith(f"--{name}="):
            found = argument.partition("=")[2]
    return found


def first_config(arguments: list[str]) -> str | None:
    """Return the first config, or None. Runs are named after it; further configs only override settings."""
    for place, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in ("--config", "-c"):
            return value if equals else next(iter(arguments[place + 1 :]), None)
    return None


def without(arguments: list[str], name: str) -> list[str]:
    """Return the arguments without an option and its values."""
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
    """Return the checkpoint file of the newest run of a config, or None if no run has such a checkpoint.

    A damaged ``last`` is replaced by the readable checkpoint of the same run with the most training steps.

    Args:
        which: ``best``, ``last`` or a path.
        config: the config that the run was named after; None = the newest run of any config.

    Raises:
        UserError: the path is no file; no checkpoint of the run can be read.
    """
    if which in ("best", "last"):
        found = run_folders.newest_checkpoint(None if config is None else Path(config).stem, which)
        return _readable(found) if found is not None and which == "last" else found
    if not Path(which).is_file():
        raise UserError(f"--ckpt_path {which}: no such file (possible are a path, best and last)")
    return Path(which)


def _readable(last: Path) -> Path:
    """Return a last checkpoint, or, if it is damaged, the most trained readable checkpoint of its run."""
    try:
        read_checkpoint(last)
    except ValueError as error:
        instead = furthest_readable(last.parent)
        if instead is None:
            raise UserError(f"{error}; no other checkpoint in {last.parent} can be read either") from None
        warn(f"{last} is damaged or truncated; {instead} is used instead")
        return instead
    return last


def resolve_checkpoint(arguments: list[str]) -> list[str]:
    """Return the arguments of a trainer's verb with a checkpoint file and a config.

    ``fit --ckpt_path last`` begins a new run if there is no checkpoint. The default of the other verbs is ``best``:
    without a checkpoint they would measure random weights.

    Raises:
        UserError: the verb needs a checkpoint and no run has one; the checkpoint lies in no run folder, and no config
            is given.
    """
    verb, config, which = arguments[0], first_config(arguments), option(arguments, "ckpt_path")
    if any(flag in arguments for flag in ("-h", "--help")) or any(a.startswith("--print_config") for a in arguments):
        return arguments
    if which is None and verb == "fit":
        return arguments
    found = find_checkpoint(which or "best", config)
    if found is None:
        if verb == "fit":
            log_info(f"--ckpt_path {which}: no run has such a checkpoint yet; a new run begins")
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


def require_checkpoint(which: str, config: str | None = None) -> Path:
    """Return a checkpoint file as :func:`find_checkpoint` does.

    Raises:
        UserError: no run has such a checkpoint, or as for :func:`find_checkpoint`.
    """
    found = find_checkpoint(which, config)
    if found is None:
        runs = f"no run of {config or 'any config'} under {run_folders.RUNS.resolve()}"
        raise UserError(f"--ckpt_path {which}: {runs} has a {which}.ckpt: fit first, or name a file")
    return found
