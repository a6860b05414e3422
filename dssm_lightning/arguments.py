"""``--ckpt_path best`` and ``last`` made into files, and a run's own config where none is named, before parsing."""

from __future__ import annotations

from pathlib import Path

from dssm_lightning import runs


def option(arguments: list[str], name: str) -> str | None:
    """The value of ``--name value`` or ``--name=value``; the last one counts."""
    found = None
    for place, argument in enumerate(arguments):
        if argument == f"--{name}" and place + 1 < len(arguments):
            found = arguments[place + 1]
        elif argument.startswith(f"--{name}="):
            found = argument.partition("=")[2]
    return found


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

    Raises:
        ValueError: a path where no file lies.
    """
    if which in ("best", "last"):
        return runs.newest_checkpoint(None if config is None else Path(config).stem, which)
    if not Path(which).is_file():
        raise ValueError(f"--ckpt_path {which}: no such file (a path, or best, or last)")
    return Path(which)


def resolve_checkpoint(arguments: list[str]) -> list[str]:
    """The arguments of a Lightning verb with the checkpoint as a file, and with a config.

    ``fit`` starts afresh where ``last`` is asked for and there is none. The other verbs measure ``best`` unless told
    otherwise: without a checkpoint they would measure random weights.

    Raises:
        ValueError: no checkpoint where one is needed.
    """
    verb, config, which = arguments[0], option(arguments, "config"), option(arguments, "ckpt_path")
    if any(flag in arguments for flag in ("-h", "--help")) or any(a.startswith("--print_config") for a in arguments):
        return arguments
    if which is None and verb == "fit":
        return arguments
    found = find_checkpoint(which or "best", config)
    if found is None:
        if verb == "fit":
            print(f"--ckpt_path {which}: no run has one yet, starting afresh")
            return without(arguments, "ckpt_path")
        raise ValueError(
            f"{verb} needs a trained model, and no run of {config or 'any config'} under {runs.RUNS.resolve()} has a "
            f"{which or 'best'}.ckpt: fit first, or name a file with --ckpt_path"
        )
    arguments = [*without(arguments, "ckpt_path"), f"--ckpt_path={found}"]
    if config is None:
        run = runs.run_of(found)
        if run is None:
            raise ValueError(f"--ckpt_path {found} lies in no run folder: name its config with --config")
        arguments[1:1] = [f"--config={run / 'config.yaml'}"]
    return arguments
