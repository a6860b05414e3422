"""What the rules of :mod:`~dssm_lightning.reports.html_report.advice` look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dssm_lightning.reports.html_report.embedding_map import Geometry
from dssm_lightning.reports.html_report.metric_figures import compare
from dssm_lightning.reports.html_report.run_record import Measured, RunRecord

TEXT_BASELINES = ("BM25", "TfIdf")
TEXTS = ("HashedTrigrams", "HashedWords", "HashedNgrams")
"""Features of texts whose table has a row for each bucket."""
NEIGHBOURS = ("ItemKNN", "EASE")


class Evidence(NamedTuple):
    """A run, and what its checkpoint showed."""

    record: RunRecord
    geometry: Sequence[Geometry] = ()
    near_misses: float | None = None  # share of queries whose first right candidate has a rank from 11 to 100
    found: float | None = None  # share of queries whose first right candidate has a rank up to 10
    candidate_id: str | None = None  # the column that identifies a candidate; None = unknown

    def setting(self, *path: str) -> Any:
        """Return a setting of the run's config; None where there is none."""
        value: Any = self.record.config
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def features(self, side: str) -> list[dict[str, Any]]:
        """Return the features of a side: ``class`` (its last name), ``name``, and further settings."""
        declared = self.setting("data", side)
        found = []
        for each in declared if isinstance(declared, list) else []:
            if isinstance(each, dict):
                kind = str(each.get("class_path", "")).rpartition(".")[2]
                found.append({**(each.get("init_args") or {}), "class": kind})
        return found

    def texts(self, side: str) -> list[dict[str, Any]]:
        """Return the features of hashed texts of a side."""
        return [each for each in self.features(side) if each["class"] in TEXTS and each.get("name")]

    def id_feature(self) -> str | None:
        """Return the name of the feature that is a candidate's id; None if the model reads no id, or it is unknown."""
        for each in self.features("candidate"):
            column = each.get("column") or each.get("name")
            if each["class"] == "Categorical" and column is not None and column == self.candidate_id:
                return str(each["name"])
        return None

    def class_of(self, *path: str) -> str:
        """Return the last name of the class of a setting, which is a text or ``{class_path, init_args}``."""
        value = self.setting(*path)
        value = value.get("class_path") if isinstance(value, dict) else value
        return str(value or "").rpartition(".")[2]

    def metric(self, name: str) -> float | None:
        """Return a metric of the model's test."""
        return None if self.record.model is None else self.record.model.metrics.get(name)

    def rival(self, kinds: Sequence[str]) -> Measured | None:
        """Return the best baseline of some kinds."""
        return next((each for each in self.record.baselines if each.name.startswith(tuple(kinds))), None)

    def loses_to(self, rival: Measured | None) -> bool:
        """Return whether a baseline or the fusion is better than the model, beyond chance, by the primary metric."""
        if rival is None or self.record.model is None:
            return False
        found = compare(self.record.model, rival, [self.record.primary]).get(self.record.primary)
        return found is not None and found.p < 0.05 and found.difference > 0

    def beats(self, rival: Measured | None) -> bool:
        """Return whether the model is better than a baseline, beyond chance."""
        if rival is None or self.record.model is None:
            return False
        found = compare(rival, self.record.model, [self.record.primary]).get(self.record.primary)
        return found is not None and found.p < 0.05 and found.difference > 0

    def last(self, name: str) -> float | None:
        """Return the last value of a logged metric."""
        points = self.record.curves.get(name)
        return points[-1][1] if points else None
