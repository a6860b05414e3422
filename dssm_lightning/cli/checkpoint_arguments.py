"""Find the checkpoint and the config of a command line: ``--ckpt_path best`` and ``last`` become files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.training import run_folders
from dssm_lightning.training.checkpoint_files import furthest_readable, read_checkpoint
from dssm_lightning.training.refit_files import with_refit
from dssm_lightning.training.run_choice import choose_checkpoint
from dssm_lightning.training.run_status import not_finished, read_status
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info, warn

if TYPE_CHECKING:
    from dssm_lightning.data.retrieval_data import RetrievalData
    from dssm_lightning.models.two_tower import TwoTowerModel


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


def find_checkpoint(which: str, config: str | None, resumes: bool = False) -> Path | None:
    """Return the checkpoint file of the newest run of a config, or None if no run has such a checkpoint.

    It is the newest run that is finished, or else the newest one; a fit that is resumed continues the newest run,
    however it ended. A damaged ``last`` is replaced by the readable checkpoint of the same run with the most training
    steps. The log names what was chosen.

    Args:
        which: ``best``, ``last`` or a path.
        config: the config that the run was named after; None = the newest run of any config.
        resumes: choose a run that a fit continues.

    Raises:
        UserError: the path is no file; no checkpoint of the run can be read.
    """
    if which not in ("best", "last"):
        if not Path(which).is_file():
            raise UserError(f"--ckpt_path {which}: no such file (possible are a path, best and last)")
        _log_choice(Path(which), "", [], resumes)
        return Path(which)
    passed_over: list[str] = []
    if resumes:
        found = run_folders.newest_checkpoint(_name(config), which)
    else:
        choice = choose_checkpoint(_name(config), which)
        found, passed_over = (None, []) if choice is None else choice
    if found is not None:
        found = _readable(found) if which == "last" else found
        _log_choice(found, f" {which}:", passed_over, resumes)
    return found


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
    found = find_checkpoint(which or "best", config, resumes=verb == "fit")
    if found is None:
        if verb == "fit":
            log_info(f"--ckpt_path {which}: no run has such a checkpoint yet; a new run begins")
            return without(arguments, "ckpt_path")
        raise UserError(f"{verb} needs a trained model, and {_missing(which or 'best', config)}")
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
        raise UserError(f"--ckpt_path {which}: {_missing(which, config)}")
    return found


def named_run(text: str) -> str:
    """Return a run folder or a file as it is given; a config stands for its newest finished run.

    Raises:
        UserError: the config has no run with a checkpoint.
    """
    if Path(text).suffix not in (".yaml", ".yml") or Path(text).name == "config.yaml":
        return text
    found = find_checkpoint("best", text) or find_checkpoint("last", text)
    if found is None:
        raise UserError(f"{text}: {_missing('best', text)}")
    return str(found.parent.parent)


def load_chosen(which: str, config: Sequence[str] | None) -> tuple[TwoTowerModel, RetrievalData]:
    """Return the model of the chosen checkpoint, and the data of its run or of the configs.

    Args:
        which: ``best``, ``last`` or a path.
        config: the first names the run; the data are those of all. None = the newest run of any config, with its data.

    Raises:
        UserError: as for :func:`require_checkpoint`, and what is wrong with the file or the configs.
    """
    return load_file(require_checkpoint(which, config[0] if config else None), config)


def load_file(checkpoint: Path, config: Sequence[str] | None) -> tuple[TwoTowerModel, RetrievalData]:
    """Return the model of a checkpoint file, and the data of its run or of the configs.

    Raises:
        UserError: what is wrong with the file or the configs.
    """
    from dssm_lightning import api

    if not config:
        return api.load_run(checkpoint)
    model, data = api.load_model(checkpoint), api.load_data(with_refit(config, checkpoint))
    data.encode_with(model.schemas)
    return model, data


def chosen_data(config: Sequence[str] | None, ckpt_path: str | None) -> tuple[RetrievalData, Path | None]:
    """Return the data of the configs, or of the run of a checkpoint, and the folder of this run; None without a run.

    Args:
        config: the first names the run; the data are those of all. None = the newest run of any config, with its data.
        ckpt_path: ``best``, ``last`` or a path; None = ``best``, and with a config there need not be a run.

    Raises:
        UserError: no run has such a checkpoint; what is wrong with the configs.
    """
    from dssm_lightning import api

    which, first = ckpt_path or "best", config[0] if config else None
    optional = bool(config) and ckpt_path is None
    found = find_checkpoint(which, first) if optional else require_checkpoint(which, first)
    if config:
        return api.load_data(with_refit(config, found)), None if found is None else run_folders.run_of(found)
    assert found is not None
    return api.data_of(found, None), run_folders.run_of(found)


def log_unfinished(run: Path | None) -> None:
    """Log a line about a run that is not finished."""
    line = None if run is None else not_finished(run)
    if line is not None:
        log_info(line)


def _name(config: str | None) -> str | None:
    return None if config is None else run_folders.run_name(config)


def _log_choice(found: Path, asked: str, passed_over: Sequence[str], resumes: bool) -> None:
    """Log which checkpoint was chosen, how its run ended, and which newer runs were passed over."""
    run = run_folders.run_of(found)
    status = None if run is None else read_status(run)
    finished = status is not None and status.state == "finished"
    about = [_epoch(found), f"its run is finished, {status.epochs} epochs" if status is not None and finished else ""]
    described = f" ({'; '.join(filter(None, about))})" if any(about) else ""
    log_info(f"--ckpt_path{asked} {found}{described}")
    if not resumes:
        for line in passed_over:
            log_info(line)
        log_unfinished(run)


def _epoch(checkpoint: Path) -> str:
    """Return the epoch in which a checkpoint was written; empty if it cannot be read, which is reported elsewhere."""
    try:
        return f"epoch {read_checkpoint(checkpoint, mmap=True)['epoch'] + 1}"
    except (UserError, KeyError, TypeError, OSError):
        return ""


def _missing(which: str, config: str | None) -> str:
    """Return that no run has such a checkpoint, and what there is in its place."""
    other = "last" if which == "best" else "best"
    instead = run_folders.newest_checkpoint(_name(config), other)
    there = "fit first, or name a file with --ckpt_path"
    if instead is not None:
        there = f"but there is {instead}: choose it with --ckpt_path {other}"
    if config is not None and not Path(config).is_file():
        there += f"; {config} is no file"
    return f"no run of {config or 'any config'} under {run_folders.RUNS.resolve()} has a {which}.ckpt: {there}"
