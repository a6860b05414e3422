"""What is in a bundle: as values, and as a page of 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dssm_lightning.cli.index_table import read_table, show_index_table
from dssm_lightning.evaluation.metric_names import main_names, name_column
from dssm_lightning.retrieval.bundle.files import CARD, MANIFEST, names_in, verify_files
from dssm_lightning.retrieval.bundle.manifest import Manifest, read_manifest
from dssm_lightning.retrieval.bundle.reading import CONFIG, INDEX, METRICS, SCHEMA, WEIGHTS, read_pictures
from dssm_lightning.utils.console import cell, show, show_text
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.text_files import parse_json, read_utf8

if TYPE_CHECKING:
    from rich.table import Table

HEAD = 11
"""Width of the names in front of the lines."""


def describe_bundle(folder: Path) -> dict[str, Any]:
    """Return what is in a bundle, whose files are compared with their checksums first.

    Raises:
        UserError: no bundle, or a damaged one.
    """
    manifest = read_manifest(folder)
    verify_files(folder, manifest.files)
    metrics = _json(folder, METRICS, manifest)
    programs = asdict(manifest.programs)
    sizes = {name: (folder / name).stat().st_size for name in names_in(folder)}
    return {
        "bundle": str(folder),
        "format": manifest.format,
        "checksums": "verified",
        "source": manifest.source,
        "versions": manifest.versions,
        "features": _features(folder),
        "scorer": manifest.scorer,
        "indexable": manifest.programs.indexable,
        "corpus": asdict(manifest.corpus),
        "pictures": _pictures(folder, manifest),
        "vectors": {"heads": manifest.num_indexes, "candidate_numbers": manifest.vector_width},
        "query_texts": manifest.query_texts,
        "programs": {name: each for name, each in programs.items() if isinstance(each, dict)},
        "index": _index(folder, manifest),
        "index_table": read_table(folder),
        **{name: metrics.get(name, {}) for name in ("metrics", "intervals", "baselines")},
        "files": sizes,
    }


def show_bundle(found: Mapping[str, Any]) -> None:
    """Show what :func:`describe_bundle` returns."""
    for name, text in _lines(found):
        for number, line in enumerate(_wrapped(text)):
            show_text(f"{'' if number else name:<{HEAD}}{line}")
    show(_features_table(found["features"]))
    quality = _quality_table(found["metrics"], found["baselines"])
    if quality is None:
        show_text("quality: the run was not tested before the export\n")
    else:
        show(quality)
    if found["index_table"] is not None:
        show_index_table(found["index_table"])
        if found["index_table"]["checksums"] != found["corpus"]["checksums"]:
            show_text("the corpus has changed since the indexes were measured: run index again")
    show(_files_table(found["files"]))


def _json(folder: Path, name: str, manifest: Manifest) -> dict[str, Any]:
    if name not in manifest.files:
        return {}
    values = parse_json(read_utf8(folder / name), str(folder / name))
    if not isinstance(values, dict) or not all(isinstance(each, dict) for each in values.values()):
        raise UserError(f"{folder / name} is damaged: it has no objects of metrics")
    return values


def _features(folder: Path) -> dict[str, list[dict[str, str]]]:
    from dssm_lightning.features.schema import Schemas

    schemas = Schemas.from_json(read_utf8(folder / SCHEMA))
    return {
        side: [
            {"name": feature.name, "kind": type(feature).__name__, "column": feature.source_column}
            for feature in schema
        ]
        for side, schema in (("query", schemas.query), ("candidate", schemas.candidate))
    }


def _pictures(folder: Path, manifest: Manifest) -> int:
    """Return the number of candidates that have a picture."""
    pictures = read_pictures(folder, manifest)
    return 0 if pictures is None else pictures.count


def _index(folder: Path, manifest: Manifest) -> dict[str, Any] | None:
    """Return the engine, the settings and the size of the index of the first head; None: no index can serve."""
    from dssm_lightning.retrieval.indexes import index_files

    if not manifest.num_indexes:
        return None
    first = folder / INDEX if manifest.num_indexes == 1 else folder / INDEX / "0"
    saved = index_files.read_manifest(first)
    size = sum(content.size for name, content in manifest.files.items() if name.startswith(f"{INDEX}/"))
    return {"engine": saved.engine, "settings": saved.settings, "heads": manifest.num_indexes, "size": size}


# -- lines -------------------------------------------------------------------------------------------------------------


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    source, corpus, files = found["source"], found["corpus"], found["files"]
    yield "bundle", f"{found['bundle']}: {len(files)} files, {_mib(sum(files.values()))}"
    yield "checksums", f"verified: every file is as {MANIFEST} lists it (format {found['format']})"
    run, checkpoint = source.get("run", "no run"), source.get("checkpoint", "no checkpoint")
    yield "source", f"{run}, {checkpoint}"
    yield "status", source.get("status", "finished" if "run" in source else "unknown")
    yield "versions", ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    yield "model", f"{found['scorer']}, embeddings of width {corpus['width']}, {_heads(found)}"
    yield "corpus", f"{corpus['count']:,} candidates by {corpus['id_column']}"
    yield "pictures", _pictures_line(found)
    yield "columns", ", ".join(f"{name} ({kind})" for name, kind in corpus["columns"].items())
    yield "shown", ", ".join(corpus["display"]) or "nothing beside the id"
    texts = ", ".join(found["query_texts"])
    yield "hybrid", f"BM25 reads {texts}" if texts else "not possible: there is no index of words"
    yield "index", _index_line(found["index"])


def _heads(found: Mapping[str, Any]) -> str:
    heads = found["vectors"]["heads"]
    if not heads:
        return "no inner product ranks as the scorer does"
    return "one vector each" if heads == 1 else f"{heads} vectors each"


def _pictures_line(found: Mapping[str, Any]) -> str:
    column = found["corpus"]["picture_column"]
    if column is None:
        return "none: export --picture COLUMN keeps small ones"
    return f"{found['pictures']:,} small ones, from column {column}"


def _index_line(index: Mapping[str, Any] | None) -> str:
    if index is None:
        return "none can serve the scorer: a search scores every candidate by scorer.onnx"
    settings = " ".join(f"{name}={value}" for name, value in index["settings"].items() if value not in (None, {}))
    return f"{index['engine']} {settings}, {_mib(index['size'])} beside the embeddings"


def _wrapped(text: str) -> list[str]:
    from textwrap import wrap

    from dssm_lightning.utils.console import console

    return wrap(cell(text), max(20, console().width - HEAD), break_on_hyphens=False) or [""]


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"


# -- tables ------------------------------------------------------------------------------------------------------------


def _table(*headers: Any, padding: int = 1) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*headers, box=SIMPLE_HEAD, padding=(0, padding, 0, 0), pad_edge=False)


def _features_table(features: Mapping[str, Sequence[Mapping[str, str]]]) -> Table:
    from rich.table import Column

    table = _table("side", *(Column(name, overflow="fold") for name in ("feature", "class", "column")))
    for side, own in features.items():
        for each in own:
            table.add_row(side, *(cell(each[name]) for name in ("name", "kind", "column")))
    return table


def _quality_table(metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> Table | None:
    from rich.table import Column

    main = main_names({name.removeprefix("test/") for name in metrics})
    names = [name for name in main if f"test/{name}" in metrics]
    if not names:
        return None
    table = _table(Column("test", min_width=14, overflow="fold"), *map(name_column, names), padding=0)
    rows = {"this model": {name: metrics[f"test/{name}"] for name in names}, **baselines}
    for model, values in rows.items():
        found = [values.get(name, values.get(f"test/{name}")) for name in names]
        table.add_row(
            cell(model).replace("(", " (", 1).removesuffix(" ()"),
            *("" if each is None else f"{each:.4f}" for each in found),
        )
    return table


def _files_table(sizes: Mapping[str, int]) -> Table:
    from rich.table import Column

    about = {
        MANIFEST: "lists the others",
        CARD: "the model card, which may be edited",
        WEIGHTS: "weights of both towers",
        CONFIG: "the run's settings",
        METRICS: "of the run's test",
    }
    table = _table(Column("file", overflow="fold"), Column("bytes", justify="right", no_wrap=True), "")
    for name, size in sizes.items():
        table.add_row(cell(name), f"{size:,}", about.get(name, ""))
    return table
