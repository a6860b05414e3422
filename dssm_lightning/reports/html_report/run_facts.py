"""What was trained on what: the model and the data of a run in short."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.reports.html_report.page_parts import Cell, Figure, Section, Table
from dssm_lightning.reports.html_report.run_record import RunRecord
from dssm_lightning.training.run_status import read_status
from dssm_lightning.utils.console import cell

PACKAGES = ("dssm-lightning", "torch", "lightning", "polars", "matplotlib")
LONGEST = 300


def facts_section(record: RunRecord, model: TwoTowerModel | None, data: RetrievalData | None) -> Section:
    """Return tables of the data, of the model, and of the training."""
    model_rows = _model_rows(record.config.get("model") or {})
    if model is not None:
        model_rows.append(("parameters", f"{sum(each.numel() for each in model.parameters()):,}"))
        model_rows.append(("width of an embedding", " and ".join(map(str, dict.fromkeys(model.widths)))))
    figures = [
        _table("Data", _data_rows(record, data), "What the model saw. Held-out rows took no part in training."),
        _table(
            "Model",
            model_rows,
            "The parts of the config that decide what is learnt; every other setting is in config.yaml.",
        ),
        _table("Training", _training_rows(record), "How long it was trained, and the versions that made this report."),
    ]
    return Section("facts", "What was trained on what", figures)


def _table(title: str, rows: list[tuple[str, str]], caption: str) -> Figure:
    shown = [[Cell(name, mark="name"), Cell(cell(value, LONGEST))] for name, value in rows if value]
    return Figure(title, caption, table=Table([], shown))


def _data_rows(record: RunRecord, data: RetrievalData | None) -> list[tuple[str, str]]:
    settings = record.config.get("data") or {}
    rows = [("source", describe(settings.get("source"))), ("split", describe(settings.get("split")))]
    if data is not None:
        prepared = data.data
        rows += [("queries", f"{len(prepared.queries):,}"), ("candidates", f"{len(prepared.candidates):,}")]
        rows += [(name, f"{count:,}") for name, count in prepared.report.items() if count]
    for side in ("query", "candidate"):
        features = settings.get(side)
        found = [_feature(each) for each in features] if isinstance(features, list) else []
        rows.append((f"{side} features", ", ".join(found)))
    return [*rows, ("evaluated by", str(settings.get("evaluate", "query")))]


def _model_rows(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    for side in ("query_tower", "candidate_tower"):
        tower = settings.get(side)
        options = (tower or {}).get("init_args") or {} if isinstance(tower, dict) else {}
        shape = [f"{name} {options[name]}" for name in ("hidden_dims", "output_dim", "dropout") if options.get(name)]
        rows.append((side.replace("_", " "), ", ".join([describe(options.get("fusion")) or "shared", *shape])))
    rows += [(name, describe(settings.get(name))) for name in ("scorer", "loss", "optimizer")]
    tied = settings.get("tied_embeddings")
    return [*rows, ("tied tables", ", ".join(f"{a} = {b}" for a, b in tied.items()) if isinstance(tied, dict) else "")]


def _training_rows(record: RunRecord) -> list[tuple[str, str]]:
    status, settings = read_status(record.folder), record.config
    epochs = max((points[-1][0] for points in record.curves.values()), default=0)
    planned = (settings.get("trainer") or {}).get("max_epochs")
    checkpoint = record.checkpoint
    size = "" if checkpoint is None else f"{checkpoint.name}, {checkpoint.stat().st_size / 1e6:,.1f} MB"
    negatives = (settings.get("data") or {}).get("negatives")
    return [
        ("epochs", f"{epochs} of {planned}" if epochs and planned else str(epochs or "")),
        ("status", "unknown" if status is None else status.state),
        ("batch size", str((settings.get("data") or {}).get("batch_size", ""))),
        ("negatives", describe(negatives) or "the candidates of the batch"),
        ("checkpoint", size),
        ("chosen by", record.monitor or ""),
        ("seed", str(settings.get("seed_everything", ""))),
        ("versions", ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))),
    ]


def describe(setting: Any) -> str:
    """Return a class and its settings in short.

    Example:
        >>> describe({"class_path": "dssm_lightning.models.scorers.Dot", "init_args": {"logit_scale": 20, "x": None}})
        'Dot(logit_scale=20)'
    """
    if isinstance(setting, str):
        return setting.rpartition(".")[2]
    if not isinstance(setting, dict) or "class_path" not in setting:
        return ""
    name = str(setting["class_path"]).rpartition(".")[2]
    options = setting.get("init_args") or {}
    plain = {
        key: value
        for key, value in options.items()
        if value is not None and value is not False and not isinstance(value, dict)
    }
    inner = ", ".join(f"{key}={_short(value)}" for key, value in plain.items())
    return f"{name}({inner})" if inner else name


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(describe(each) or str(each) for each in value)}]"
    return str(value)


def _feature(setting: Any) -> str:
    options = (setting.get("init_args") or {}) if isinstance(setting, dict) else {}
    return f"{options.get('name', '?')} ({describe(setting).partition('(')[0]})"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
