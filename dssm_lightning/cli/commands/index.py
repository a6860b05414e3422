"""The command that builds, measures and keeps indexes of a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_file

if TYPE_CHECKING:
    from dssm_lightning.cli.index_measuring import MeasuredIndex, Measurement
    from dssm_lightning.retrieval.bundle.manifest import Manifest
    from dssm_lightning.retrieval.towers import Floats

MOST_QUERIES = 1000
"""Queries by which an index is measured."""


def index(
    bundle: str,
    engine: list[str] | None = None,
    factory: list[str] | None = None,
    precision: list[str] | None = None,
    parameters: list[str] | None = None,
    location: str | None = None,
    k: int | None = None,
    queries: str | None = None,
    keep: int | None = None,
) -> list[MeasuredIndex]:
    """Build indexes of a bundle's candidates, measure them, and keep one in the bundle.

    Each index is compared with exact search. The table is kept in the bundle, too, and inspect shows it.

    Args:
        bundle: the folder; it has the new index, or what it had before.
        engine: exact, faiss or qdrant. Repeat the option to compare several. None = the engines of the other options,
            or exact.
        factory: a factory string of FAISS, such as HNSW32 or IVF1024,SQ8. Repeat the option to compare several.
        precision: of exact search: float32, float16, int8 or binary. Repeat the option to compare several; None = all.
        parameters: of FAISS, such as efSearch=64 or efConstruction=200,efSearch=64. Repeat the option to compare
            several; what is of the search alone is changed without building the index again.
        location: the folder in which Qdrant keeps its files, which the bundle then needs.
        k: number of answers whose recall is measured; None = 10, or the whole corpus if it is smaller.
        queries: a file of queries as for search; None = the sample of held-out queries in the bundle.
        keep: number of the index to keep, in the order of the table; None = the fastest of those with a recall of at
            least .99, one query at a time, or else the most accurate.

    Returns:
        what was measured of each index.
    """
    from dssm_lightning.cli.index_measuring import measure
    from dssm_lightning.cli.index_settings import index_settings
    from dssm_lightning.cli.index_table import show_index_table, table_values
    from dssm_lightning.retrieval.bundle.files import verify_files
    from dssm_lightning.retrieval.bundle.manifest import read_manifest
    from dssm_lightning.retrieval.bundle.onnx_towers import OnnxTowers
    from dssm_lightning.retrieval.bundle.reading import read_embeddings

    folder = _folder(bundle)
    manifest = read_manifest(folder)
    verify_files(folder, manifest.files)
    k = _checked_k(k, manifest)
    heads = manifest.num_indexes
    settings = index_settings(engine, factory, precision, parameters, location, manifest.corpus.width // heads)
    if keep is not None and not 1 <= keep <= len(settings):
        raise UserError(f"--keep {keep}: {len(settings)} indexes are measured; choose a number from 1")
    sample, source = _sample(folder, manifest, queries)
    towers = OnnxTowers(folder, manifest)
    vectors, asked = (towers.vectors(each) for each in (read_embeddings(folder, manifest), sample))
    measured = measure(settings, vectors, asked, k, keep)
    values = table_values(measured.rows, k, manifest.corpus, len(sample), source)
    show_index_table(values)
    _keep(folder, manifest, measured, values)
    show_text(measured.reason)
    log_file("the index", folder)
    return measured.rows


def _folder(bundle: str) -> Path:
    if "://" in bundle:
        raise UserError(f"--bundle {bundle}: an index is built in a folder; pull the bundle, and push it afterwards")
    if not Path(bundle).is_dir():
        raise UserError(f"--bundle {bundle}: there is no such folder")
    return Path(bundle)


def _checked_k(k: int | None, manifest: Manifest) -> int:
    if not manifest.num_indexes:
        raise UserError(
            f"{manifest.scorer} does not rank by inner products, so that no index can serve it: a search scores every "
            "candidate by scorer.onnx"
        )
    total = manifest.corpus.count
    k = min(10, total) if k is None else k
    if not 1 <= k <= total:
        raise UserError(f"index: k is {k}; the corpus has {total:,} candidates: choose a k from 1 to {total:,}")
    return k


def _sample(folder: Path, manifest: Manifest, queries: str | None) -> tuple[Floats, str]:
    """Return the embeddings (Q, D) of the queries by which indexes are measured, and where they come from."""
    from dssm_lightning.cli.query_files import QueryFile, embedded
    from dssm_lightning.retrieval.bundle.reading import SAMPLE

    if queries is not None:
        from dssm_lightning.retrieval.retriever import Retriever

        retriever = Retriever.load(folder, verify=False)
        return embedded(QueryFile(queries, retriever), retriever, MOST_QUERIES), queries
    found = None
    if SAMPLE in manifest.files:
        from safetensors.numpy import load_file

        found = load_file(folder / SAMPLE).get("embeddings")
    if found is None or not len(found):
        raise UserError(f"{folder} has no sample of queries: name a file of queries with --queries")
    sample: Floats = found
    return sample, SAMPLE


def _keep(folder: Path, manifest: Manifest, measured: Measurement, values: dict[str, object]) -> None:
    """Write the kept index and the table into the bundle, whole or not at all."""
    from dssm_lightning.cli.index_table import TABLE, write_table
    from dssm_lightning.retrieval.bundle.reading import INDEX
    from dssm_lightning.retrieval.bundle.writing import rewrite, write_indexes

    def change(written: Path, present: Manifest) -> Manifest:
        if present.files != manifest.files:
            raise UserError(f"{folder} was changed while its indexes were measured: run index again")
        write_indexes(written, measured.indexes, manifest.programs.vectors is not None)
        write_table(written, values)
        return present

    rewrite(folder, folder, change, (INDEX, TABLE))
