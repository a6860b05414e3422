"""One setting that a search may change, or several that change together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dssm_lightning.training.tuning.settings_tree import Place, dotted

if TYPE_CHECKING:
    from optuna.trial import Trial

DIGITS = 2
"""Significant digits of a number that the search proposes: nobody measures more."""
SHOWN = 2
"""Places of a dimension that are named."""
WIDTH_STEP = 16
"""Widths above this are multiples of it, so that heads and vector units divide them."""


@dataclass(frozen=True)
class Dimension:
    """A setting, its value in the config, and what it may become.

    Example:
        >>> rate = Dimension("lr", (("model", "optimizer", "init_args", "lr"),), 0.01, "number", 0.001, 0.1, log=True)
        >>> rate.range, rate.value_of(0.0123456), rate.value_of(0.01)
        ('0.001 to 0.1', 0.012, 0.01)
        >>> place = ("model", "loss", "init_args", "repeats")
        >>> Dimension("repeats", (place,), "count", "choice", choices=("count", "ignore")).range
        'count, ignore'
    """

    name: str
    places: tuple[Place, ...]
    """Where the value stands in the settings: all of them change together."""
    own: Any
    """The value of the config."""
    kind: Literal["number", "whole", "choice"]
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def range(self) -> str:
        """What the setting may become, for people."""
        if self.kind == "choice":
            return ", ".join(map(self.text, self.choices))
        return f"{self.low:g} to {self.high:g}"

    @property
    def where(self) -> str:
        """The places, as the command line would name them; the first ones of many."""
        more = len(self.places) - SHOWN
        return ", ".join(map(dotted, self.places[:SHOWN])) + (f" and {more} more" if more > 0 else "")

    def suggest(self, trial: Trial) -> Any:
        """Return the value of a trial."""
        if self.kind == "choice":
            return self.value_of(trial.suggest_categorical(self.name, [json.dumps(each) for each in self.choices]))
        if self.kind == "whole":
            return self.value_of(trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log))
        return self.value_of(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def parameter(self, value: Any) -> Any:
        """Return a value as Optuna stores it, which takes nothing beyond the range; rounding may leave it."""
        return json.dumps(value) if self.kind == "choice" else min(max(value, self.low), self.high)

    def value_of(self, parameter: Any) -> Any:
        """Return the setting for what Optuna stores: the config's own value as it is, others rounded."""
        if self.kind == "choice":
            return json.loads(parameter)
        if parameter == self.own:
            return self.own
        if self.kind == "number":
            return float(f"{parameter:.{DIGITS}g}")
        if self.name.startswith("width"):
            return max(8, round(parameter / 8) * 8) if parameter < WIDTH_STEP else _multiple(parameter)
        return int(float(f"{parameter:.{DIGITS}g}"))

    def text(self, value: Any) -> str:
        """Return a value for a table."""
        if isinstance(value, Mapping):
            name = str(value["class_path"]).rpartition(".")[2]
            number = value.get("init_args", {}).get("num_negatives")
            return name if number is None or self.own is not None else f"{name}({number})"
        if value is None:
            return "none"
        return f"{value:g}" if isinstance(value, float) else str(value)

    def changes(self, value: Any) -> dict[Place, Any]:
        """Return the value at each place."""
        return dict.fromkeys(self.places, value)


def values_of(space: Sequence[Dimension], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a trial for what Optuna stores; the own values stand for what a trial has not reached."""
    stored = {each.name: parameters.get(each.name, each.parameter(each.own)) for each in space}
    return {each.name: each.value_of(stored[each.name]) for each in space}


def changes_of(space: Sequence[Dimension], values: Mapping[str, Any]) -> dict[Place, Any]:
    """Return the settings that differ from the config's own, by place; a class stands before its settings."""
    found: dict[Place, Any] = {}
    for each in space:
        if values[each.name] != each.own:
            found |= each.changes(values[each.name])
    return found


def described(space: Sequence[Dimension], values: Mapping[str, Any]) -> str:
    """Return the values that differ from the config's own, for people.

    Example:
        >>> described([Dimension("lr", (("model", "lr"),), 0.01, "number", 0.001, 0.1)], {"lr": 0.02})
        'lr 0.02'
    """
    changed = [f"{each.name} {each.text(values[each.name])}" for each in space if values[each.name] != each.own]
    return ", ".join(changed) or "the config's own values"


def _multiple(value: float) -> int:
    return max(WIDTH_STEP, round(value / WIDTH_STEP) * WIDTH_STEP)
