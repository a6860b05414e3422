"""Class paths and options of earlier releases, as they are called now: saved checkpoints and configs keep loading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dssm_lightning.utils.logger import log_info

PREFIXES = {
    "dssm_lightning.averaging": "dssm_lightning.training.callbacks",
    "dssm_lightning.callbacks": "dssm_lightning.training.callbacks",
    "dssm_lightning.data.frequency": "dssm_lightning.data.negatives.frequency",
    "dssm_lightning.embeddings": "dssm_lightning.training.callbacks",
    "dssm_lightning.encoders": "dssm_lightning.models.encoders",
    "dssm_lightning.fusion": "dssm_lightning.models.fusion",
    "dssm_lightning.interrupts": "dssm_lightning.training.callbacks",
    "dssm_lightning.optimizers": "dssm_lightning.training.optimizers",
    "dssm_lightning.schedules": "dssm_lightning.training.optimizers",
    "dssm_lightning.scorers": "dssm_lightning.models.scorers",
    "dssm_lightning.sharded": "dssm_lightning.training.distributed",
    "dssm_lightning.towers": "dssm_lightning.models.tower",
}
"""Modules of 0.1.0 -> where their classes are now."""
EXPORTING = (
    *("dssm_lightning.data.negatives", "dssm_lightning.features", "dssm_lightning.losses"),
    *("dssm_lightning.models.encoders", "dssm_lightning.models.fusion", "dssm_lightning.models.scorers"),
    "dssm_lightning.training.optimizers",
)
"""Packages that export their classes: a path through one of their former modules means the package's class."""
_FORMER = (
    "attention attribute bag base causal codes convolution corpus decayed hard heads image letters named plain "
    "pretrained projection recurrent rows shares tables text text_column trigrams valid vector_table words"
)
OF_A_PACKAGE = frozenset(_FORMER.split(" "))
"""Modules of 0.1.0 within these packages that are called otherwise now, or may be."""
OPTIONS = {"apart": "bypass", "tell_apart": "slice_by"}
"""Options of 0.1.0 -> their names now. ``apart`` is an option of ``Tower``, ``tell_apart`` of the data."""

_announced: set[str] = set()


def renew_path(path: str) -> str:
    """Return the class path of today for one of any release.

    Example:
        >>> renew_path("dssm_lightning.fusion.Concat")
        'dssm_lightning.models.fusion.Concat'
        >>> renew_path("dssm_lightning.encoders.bag.EmbeddingBag")
        'dssm_lightning.models.encoders.EmbeddingBag'
    """
    for old, new in PREFIXES.items():
        if path == old or path.startswith(f"{old}."):
            path = new + path[len(old) :]
            break
    for package in EXPORTING:
        module, _, name = path.removeprefix(f"{package}.").rpartition(".")
        if path.startswith(f"{package}.") and module in OF_A_PACKAGE and name[:1].isupper():
            return f"{package}.{name}"
    return path


def renew(settings: Any) -> Any:
    """Return settings with the class paths and options of today; the given ones stay as they are.

    Args:
        settings: plain values of a config, a checkpoint or an option.

    Example:
        >>> renew({"class_path": "Tower", "init_args": {"fusion": "dssm_lightning.fusion.Sum", "apart": ["id"]}})
        {'class_path': 'Tower', 'init_args': {'fusion': 'dssm_lightning.models.fusion.Sum', 'bypass': ['id']}}
    """
    if isinstance(settings, str):
        return renew_path(settings) if settings.startswith("dssm_lightning.") else settings
    if isinstance(settings, list | tuple):
        return type(settings)(map(renew, settings))
    if not isinstance(settings, Mapping):
        return settings
    is_tower = str(settings.get("class_path", "")).rpartition(".")[2] == "Tower"
    made = {}
    for key, value in settings.items():
        inner = _renew_key(value, "apart") if is_tower and key == "init_args" else value
        made[key] = renew(inner)
    return _renew_key(made, "tell_apart")


def renew_argument(argument: str) -> str:
    """Return an argument of the command line with the option's name of today.

    Example:
        >>> renew_argument("--data.tell_apart=[lang]")
        '--data.slice_by=[lang]'
    """
    name, equals, value = argument.partition("=")
    stem, dot, last = name.rpartition(".")
    if not name.startswith("--") or last not in OPTIONS:
        return argument
    _announce(last)
    return f"{stem}{dot}{OPTIONS[last]}{equals}{value}"


def _renew_key(settings: Any, old: str) -> Any:
    if not isinstance(settings, Mapping) or old not in settings:
        return settings
    _announce(old)
    return {OPTIONS[old] if key == old else key: value for key, value in settings.items()}


def _announce(old: str) -> None:
    if old not in _announced:
        _announced.add(old)
        log_info(f"the option `{old}` is now called `{OPTIONS[old]}`; the old name keeps working")
