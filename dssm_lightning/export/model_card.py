"""The model card of a bundle: what it is, how good it is, and how to load it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dssm_lightning.evaluation.metric_names import THROUGH_INDEX, main_names, measured_widths, width_prefix
from dssm_lightning.export.run_facts import RunFacts
from dssm_lightning.features.schema import Schemas
from dssm_lightning.retrieval.bundle.manifest import Manifest
from dssm_lightning.retrieval.indexes import RecallRow

_BITS = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}


def model_card(
    manifest: Manifest, schemas: Schemas, facts: RunFacts, recalls: Sequence[RecallRow], rescore: str
) -> str:
    """Return the text of ``README.md``.

    Args:
        manifest: the bundle's.
        schemas: the features of both sides.
        facts: what the run says of the model.
        recalls: what each precision of the vectors finds.
        rescore: the precision in which the best are scored again.
    """
    run = manifest.source.get("run", "a model")
    parts = [
        f"# {run}",
        "A two-tower retrieval model and the candidates that it searches, written by "
        f"[dssm_lightning](https://github.com/dssm-lightning/dssm-lightning) {manifest.versions['dssm-lightning']}.",
        *([f"**{manifest.source['status']}.**"] if "status" in manifest.source else []),
        _use(manifest, schemas),
        _inputs(schemas),
        _corpus(manifest),
        _quality(facts.metrics, facts.intervals, facts.baselines, manifest.source.get("truncate_dim")),
        _by_width(facts.metrics),
        _precisions(recalls, rescore),
        "## Data and licence\n\nThe candidates' values in `corpus/` come from the training data, and their licence "
        "holds for this bundle: see the source in `config.yaml`. `query_sample.safetensors` has embeddings of "
        "held-out queries, without their values.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _use(manifest: Manifest, schemas: Schemas) -> str:
    columns = list(dict.fromkeys(feature.source_column for feature in schemas.query))
    query = '"…"' if len(columns) == 1 else "{" + ", ".join(f'"{name}": …' for name in columns) + "}"
    lines = [
        "## Use",
        "```python",
        "from dssm_lightning import Retriever",
        "",
        'retriever = Retriever.load("path/of/this/folder")',
        f"hits = retriever.search({query}, k=10)",
        "```",
    ]
    if not manifest.num_indexes:
        lines += [
            "",
            f"`{manifest.scorer}` does not rank by inner products, so that no index can serve this model: a search "
            "scores every candidate by `scorer.onnx`.",
        ]
    return "\n".join(lines)


def _inputs(schemas: Schemas) -> str:
    rows = [
        f"| {side} | {_code(feature.source_column)} | {type(feature).__name__} |"
        for side, schema in (("query", schemas.query), ("candidate", schemas.candidate))
        for feature in schema
    ]
    return "\n".join(["## What it reads", "", "| side | column | feature |", "|---|---|---|", *dict.fromkeys(rows)])


def _code(name: str) -> str:
    """Return the name of a column as code in one line, also in a table."""
    text = " ".join(name.split()).replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def _corpus(manifest: Manifest) -> str:
    facts = manifest.corpus
    columns = ", ".join(_code(name) for name in facts.columns)
    return f"## Candidates\n\n{facts.size}. Their id is {_code(facts.id_column)}; filters read {columns}."


def _quality(
    metrics: Mapping[str, float],
    intervals: Mapping[str, Sequence[float]],
    baselines: Mapping[str, Mapping[str, float]],
    truncate_dim: str | None,
) -> str:
    main = main_names({name.removeprefix("test/") for name in metrics})
    names = [name for name in main if f"test/{name}" in metrics]
    if not names:
        option = "" if truncate_dim is None else f" --model.truncate_dim {truncate_dim}"
        tested = f"tested before the export: `python -m dssm_lightning test{option}` measures it."
        return f"## Quality\n\nThe run was not {tested}"
    lines = ["## Quality", "", "| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines.append("| this model | " + " | ".join(_measured(f"test/{name}", metrics, intervals) for name in names) + " |")
    if any(f"test/{THROUGH_INDEX}{name}" in metrics for name in names):
        through = (f"test/{THROUGH_INDEX}{name}" for name in names)
        found = ["" if name not in metrics else _measured(name, metrics, intervals) for name in through]
        lines.append("| through its index | " + " | ".join(found) + " |")
    for baseline, values in baselines.items():
        known = [values.get(f"test/{name}", values.get(name)) for name in names]
        lines.append(f"| {baseline} | " + " | ".join("" if each is None else f"{each:.4f}" for each in known) + " |")
    ranked = "each query's own list of candidates" if "map" in names else "all candidates"
    lines += ["", f"From the run's last test, against {ranked}; in brackets the 95 % interval over queries."]
    if not baselines:
        lines.append("Baselines were not measured: `python -m dssm_lightning baseline` does.")
    return "\n".join(lines)


def _by_width(metrics: Mapping[str, float]) -> str:
    values = {name.removeprefix("test/"): value for name, value in metrics.items()}
    widths, names = measured_widths(values), [name for name in main_names(values) if name in values]
    if not widths or not names:
        return ""
    lines = ["## Quality by width", "", "`export --truncate_dim` cuts embeddings to fewer numbers.", ""]
    lines += ["| width | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for label, start in [*((str(width), width_prefix(width)) for width in widths), ("this bundle", "")]:
        found = [values.get(start + name) for name in names]
        lines.append(f"| {label} | " + " | ".join("" if each is None else f"{each:.4f}" for each in found) + " |")
    return "\n".join(lines)


def _measured(name: str, metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> str:
    if name not in intervals:
        return f"{metrics[name]:.4f}"
    low, high = intervals[name]
    return f"{metrics[name]:.4f} ({low:.4f} – {high:.4f})"


def _precisions(recalls: Sequence[RecallRow], rescore: str) -> str:
    if not recalls:
        return ""
    named = {row.settings.split()[0].partition("=")[2]: row for row in recalls}
    rows = [f"| {name} | {_BITS[name]} | {row.recall:.4f} |" for name, row in named.items()]
    return "\n".join(
        [
            "## Precision of the vectors",
            "",
            f"Share of the exact {recalls[0].k} best candidates that a search finds if it reads vectors of this "
            f"precision and scores the best again with {rescore} (`export --vectors`):",
            "",
            "| vectors | bits of a number | recall |",
            "|---|---|---|",
            *rows,
        ]
    )
