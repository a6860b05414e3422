"""What a run folder says of its model beside the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dssm_lightning.evaluation.metric_names import measured_widths, width_prefix
from dssm_lightning.evaluation.result_files import INTERVALS
from dssm_lightning.retrieval.blend import Blend, chosen_blend
from dssm_lightning.training.run_folders import run_of
from dssm_lightning.training.run_status import not_finished
from dssm_lightning.utils.logger import warn
from dssm_lightning.utils.text_files import parse_json, read_utf8


class RunFacts(NamedTuple):
    """What a run says of its model beside the checkpoint.

    Example:
        >>> RunFacts("", {"test/mrr": 0.5}, {}, {}, {"run": "emoji/version_0"}).metrics["test/mrr"]
        0.5
    """

    config: str
    """The run's ``config.yaml``."""
    metrics: Mapping[str, float]
    """Of the run's last test, by their logged names."""
    intervals: Mapping[str, Sequence[float]]
    """95 % intervals by the same names."""
    baselines: Mapping[str, Mapping[str, float]]
    source: Mapping[str, str]
    """The run, the checkpoint, and the run's status if it is not finished."""
    blend: Blend | None = None
    """The rule of a hybrid search that the fit chose on validation rows; None: it chose none."""

    def at_width(self, width: int) -> RunFacts:
        """Return what the run says of the model with embeddings cut to a width, which ``test`` may have measured.

        Example:
            >>> facts = RunFacts("", {"test/mrr": 0.5, "test/width_8/mrr": 0.4}, {"test/mrr": (0.3, 0.7)}, {}, {})
            >>> facts.at_width(8).metrics, facts.at_width(8).intervals, facts.at_width(4).metrics
            ({'test/mrr': 0.4}, {}, {})
        """
        known, start = {name.removeprefix("test/"): value for name, value in self.metrics.items()}, width_prefix(width)
        own = {name.removeprefix(start): value for name, value in known.items() if name.startswith(start)}
        less = tuple(width_prefix(each) for each in measured_widths(known) if each < width)
        metrics = {**own, **{name: value for name, value in known.items() if name.startswith(less)}}
        source = {**self.source, "truncate_dim": str(width)}
        return self._replace(
            metrics={f"test/{name}": value for name, value in metrics.items()}, intervals={}, source=source
        )


def run_facts(checkpoint: Path, configs: Sequence[str | Path] = ()) -> RunFacts:
    """Read what the run of a checkpoint says, and warn if it is not finished.

    Args:
        checkpoint: the file.
        configs: configs that take the place of the run's own.

    Raises:
        UserError: a file of the run that is no JSON.
    """
    run = run_of(checkpoint)
    own = [Path(each) for each in configs] or ([] if run is None else [run / "config.yaml"])
    config = "\n".join(f"# {path.name}\n{read_utf8(path)}" for path in own)
    source = {"checkpoint": checkpoint.name}
    if run is None:
        return RunFacts(config, {}, {}, {}, source)
    source["run"] = f"{run.absolute().parent.name}/{run.name}"
    unfinished = not_finished(run)
    if unfinished is not None:
        warn(f"export: {unfinished}; the bundle says so")
        source["status"] = unfinished.replace(str(run), f"The run {source['run']}", 1)
    metrics, intervals, baselines = (_read(run / name) for name in ("metrics.json", INTERVALS, "baselines.json"))
    return RunFacts(config, metrics, intervals, baselines, source, chosen_blend(run))


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = parse_json(read_utf8(path), str(path))
    return found if isinstance(found, dict) else {}
