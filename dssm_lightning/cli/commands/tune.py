"""The command that searches for better settings."""

from __future__ import annotations

import time as clock
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.logger import log_file, log_info

if TYPE_CHECKING:
    from dssm_lightning.cli.tuning.job import Job
    from dssm_lightning.training.tuning.study import TuningStudy

MARK = "# written by tune for the study"


def tune(
    config: list[str],
    trials: int = 20,
    metric: str | None = None,
    time: str | None = None,
    study: str | None = None,
    output: str | None = None,
    force: bool = False,
    jobs: int = 1,
    seed: int = 1,
    keep: list[str] | None = None,
) -> dict[str, Any]:
    """Search for better settings of a config by fits that are compared on its validation rows.

    What is searched is taken from the config: rates, widths, dropout, the scale, negatives and corrections of the loss,
    as far as its classes have them. Trial 0 has the config's own values. A fit that falls behind the others is stopped
    early. The test rows are never read. The same command again goes on with the same study, and several commands at the
    same time share its trials.

    Args:
        config: configs; a later one overrides settings of earlier ones.
        trials: how many trials the study has in the end.
        metric: the metric of the validation that is made as good as possible; None = checkpoint.monitor of the config.
        time: stop after this time, such as 1h, 90m or 45s; a fit ends at its next validation.
        study: the SQLite file of the study; None = tune.db in the folder of the config's runs.
        output: where the changed settings are written, as a config to lay over the first; None = beside the study.
        force: replace an output file that another study or a person has written.
        jobs: processes that fit at the same time on this machine.
        seed: of the proposed settings; fits have the seed of the config.
        keep: names of settings that keep the config's own value.

    Returns:
        the study's file, the best value, its settings and the number of trials.
    """
    for name, value in (("trials", trials), ("jobs", jobs)):
        require_whole("tune", f"--{name}", value)
    require_whole("tune", "--seed", seed, minimum=0)
    from dssm_lightning.cli.tuning.job import plan, study_path
    from dssm_lightning.cli.tuning.run_trials import run_trials
    from dssm_lightning.cli.tuning.tables import show_space
    from dssm_lightning.training.tuning.budget import seconds_of
    from dssm_lightning.utils.optional_packages import naming_packages

    with naming_packages("tune", "tune"):
        import optuna  # noqa: F401  # before any data are read
    path = study_path(config[0], study)
    written = Path(output) if output is not None else path.with_suffix(".best.yaml")
    deadline = None if time is None else clock.time() + seconds_of(time, "--time")
    job = plan(config, path, trials=trials, seed=seed, metric=metric, keep=keep or [], deadline=deadline)
    assert job.goal is not None
    _check_output(written, job.goal.digest, force)
    show_space(job.space)
    log_info(f"study {path}: {job.metric}, {job.mode}; {trials} trials in the end")
    try:
        run_trials(job, jobs)
    except (KeyboardInterrupt, SystemExit):
        _end(job, written)
        log_info(f"interrupted; the same command goes on with {path}")
        raise
    return _end(job, written)


def _end(job: Job, output: Path) -> dict[str, Any]:
    """Show what the study has found, and write the best settings."""
    from dssm_lightning.cli.tuning.tables import ranked, show_gain, show_importance, show_trials
    from dssm_lightning.training.tuning.dimension import changes_of, values_of

    study = job.open()
    try:
        best = ranked(study)
        found: dict[str, Any] = {"study": str(job.study), "trials": len(study.counted()), "metric": job.metric}
        if not found["trials"]:
            return found
        show_trials(study)
        if not best:
            log_info("no trial is complete: nothing is written")
            return found
        show_importance(study)
        show_gain(study)
        values = values_of(job.space, best[0].params)
        _write(job, study, output, changes_of(job.space, values))
        return {**found, "value": best[0].value, "settings": values, "output": str(output)}
    finally:
        study.close()


def _write(job: Job, study: TuningStudy, output: Path, changes: dict[Any, Any]) -> None:
    """Write the changed settings as a config to lay over the user's own."""
    import yaml

    from dssm_lightning.utils.atomic_files import atomic_write

    overlay = {**job.overlay(changes), "checkpoint": {"monitor": job.metric, "mode": job.mode}}
    names = " ".join(f"--config {config}" for config in job.configs)
    head = f"{MARK} {study.goal.digest}\n# python -m dssm_lightning fit {names} --config {output}\n"
    with atomic_write(output) as temporary:
        temporary.write_text(head + yaml.safe_dump(overlay, sort_keys=False, allow_unicode=True), encoding="utf-8")
    log_file("the best settings", output)


def _check_output(path: Path, digest: str, force: bool) -> None:
    """Refuse to replace a file that this study has not written.

    Raises:
        UserError: such a file, without ``--force``.
    """
    if path.is_dir():
        raise UserError(f"--output {path} is a folder; name a file such as {path / 'best.yaml'}")
    if force or not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline()
    if first.strip() != f"{MARK} {digest}":
        raise UserError(f"--output {path} exists, and is not of this study: name another file, or add --force")
