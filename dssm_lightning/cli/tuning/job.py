"""What a search is asked to do: from the options of ``tune`` to the goal, the space and the files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dssm_lightning.api import load_datamodule
from dssm_lightning.cli.tuning.trial_fit import read_settings, require_one_process
from dssm_lightning.data.interactions import VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.evaluator import Evaluation
from dssm_lightning.training import run_folders
from dssm_lightning.training.tuning.dimension import Dimension
from dssm_lightning.training.tuning.goal import Goal
from dssm_lightning.training.tuning.settings_tree import Place, leaves, overlay
from dssm_lightning.training.tuning.space import Corpus, search_space
from dssm_lightning.training.tuning.study import TuningStudy
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean
from dssm_lightning.utils.yaml_files import read_sections

MONITOR = "val/ndcg@10"
NOT_FIXED = ("config", "ckpt_path", "weights_only", "last", "embeddings", "verbose", "data.cache_dir")
"""Settings that change nothing of what a trial reaches."""


@dataclass(frozen=True)
class Job:
    """A search, as plain values that another process can be given.

    Example:
        >>> job = Job(("shop.yaml",), Path("runs/shop/tune.db"), 20, 1, "val/mrr", "max", ("batch_size",), None)
        >>> job.words
        ['--checkpoint.monitor=val/mrr', '--checkpoint.mode=max']
    """

    configs: tuple[str, ...]
    study: Path
    trials: int
    seed: int
    metric: str
    mode: Literal["min", "max"]
    keep: tuple[str, ...]
    deadline: float | None
    """By ``time.time``, which all processes of a machine share."""
    space: tuple[Dimension, ...] = ()
    goal: Goal | None = None
    epochs: int | None = None
    devices: tuple[str, ...] = ()
    """The words that keep a fit on one device."""

    @property
    def words(self) -> list[str]:
        """The settings of each trial beside those of the configs."""
        return [f"--checkpoint.monitor={self.metric}", f"--checkpoint.mode={self.mode}", *self.devices]

    def open(self) -> TuningStudy:
        """Open or begin the study."""
        assert self.goal is not None
        return TuningStudy(self.study, self.goal, [*self.space], self.trials, self.epochs, self.seed)

    def overlay(self, changes: Mapping[Place, Any]) -> dict[str, Any]:
        """Return the config to lay over the user's own."""
        one = (
            len(self.configs) == 1
        )  # as the user has written it; what several files give together, only a parser knows
        return overlay(read_sections(Path(self.configs[0])) if one else read_settings(self.configs), changes)


def study_path(config: str, study: str | None) -> Path:
    """Return the file of the study: in the folder of the config's runs, unless it is given.

    Raises:
        UserError: a folder, or a file without a suffix, whose folder of trials would have its own name.
    """
    if study is None:
        return run_folders.RUNS / run_folders.run_name(config) / "tune.db"
    path = Path(study)
    if path.is_dir() or not path.suffix or path.suffix == ".trials":
        found = "is a folder" if path.is_dir() else f"has the suffix {path.suffix!r}"
        raise UserError(
            f"--study {study} {found}; name a file such as {path / 'tune.db' if path.is_dir() else path.stem + '.db'}"
        )
    return path


def plan(
    configs: Sequence[str],
    study: Path,
    *,
    trials: int,
    seed: int,
    metric: str | None,
    keep: Sequence[str],
    deadline: float | None,
) -> Job:
    """Read the configs and prepare their data, and return what to search.

    Raises:
        UserError: the metric is never logged; there are no validation rows; several devices; nothing to search.
    """
    settings = read_settings(configs)
    devices = require_one_process(settings)
    data = load_datamodule(configs)
    monitor = settings["checkpoint"]["monitor"]
    chosen = require_logged(metric or monitor or MONITOR, data, settings["model"].get("ks"))
    mode: Literal["min", "max"] = "min" if chosen == monitor and settings["checkpoint"]["mode"] == "min" else "max"
    space = search_space(settings, Corpus(data.candidates.columns[0], data.num_candidates), keep)
    lines = [f"{each.name} ({each.where}) {each.text(each.own)}: {each.range}" for each in space]
    goal = Goal(", ".join(configs), chosen, mode, _fixed(settings, space), lines)
    epochs = settings["trainer"].get("max_epochs")
    files = tuple(configs), study
    return Job(*files, trials, seed, chosen, mode, tuple(keep), deadline, tuple(space), goal, epochs, tuple(devices))


def require_logged(metric: str, data: RetrievalData, ks: list[int] | None) -> str:
    """Return the name of a metric that says how good a validation is.

    Raises:
        UserError: it is never logged, or there are no validation rows; test rows never stand in for them.
    """
    if len(data.data.interactions.rows(VALIDATION)) == 0:
        raise UserError(
            "tune chooses by validation rows, and the split keeps none (the test part is never read): give data.split "
            "a `validation` part, such as 0.1"
        )
    ranked = Evaluation.of(data.ranking(VALIDATION), ks, data.labelled)
    logged = [f"val/{name}" for name in ranked.names if name != "lists_without_positive"]
    if metric not in logged:
        hint = " (auroc needs labels, and the source has no label column)" if metric == "val/auroc" else ""
        raise UserError(
            f"--metric {metric!r} is never logged{hint}; there are {', '.join(logged)}{did_you_mean(metric, logged)}"
        )
    return metric


def _fixed(settings: Mapping[str, Any], space: Sequence[Dimension]) -> dict[str, Any]:
    """Return the settings that no trial changes, by their dotted names, as JSON has them."""
    searched = {place for each in space for place in each.places}
    named = {place: value for place, value in leaves(settings) if place not in searched}
    flat = {".".join(map(str, place)): value for place, value in named.items()}
    kept = {name: value for name, value in flat.items() if not name.startswith(NOT_FIXED)}
    plain: dict[str, Any] = json.loads(json.dumps(kept, default=str))
    return plain
