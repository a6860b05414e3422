"""Open a bundle: everything is checked first, and mapped from its files."""

from __future__ import annotations

from pathlib import Path

from dssm_lightning.features.schema import Schemas
from dssm_lightning.retrieval.bundle.files import MANIFEST, verify_files
from dssm_lightning.retrieval.bundle.manifest import Manifest, read_manifest
from dssm_lightning.retrieval.bundle.onnx_towers import OnnxTowers
from dssm_lightning.retrieval.bundle.tensors import map_tensor
from dssm_lightning.retrieval.candidate_pictures import PICTURES, CandidatePictures
from dssm_lightning.retrieval.candidate_rows import HASHES, LINES, OFFSETS, CandidateRows
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.indexes.base import Index
from dssm_lightning.retrieval.indexes.load_index import load_index
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.retrieval.term_files import TERMS as TERMS_FILE
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.retrieval.towers import Floats
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.text_files import read_utf8

SCHEMA, CONFIG, METRICS, WEIGHTS = "schema.json", "config.yaml", "metrics.json", "model.safetensors"
CORPUS, INDEX, TERMS = "corpus", "index", "terms"
EMBEDDINGS, CANDIDATES = "embeddings.safetensors", "candidates.parquet"
SAMPLE = "query_sample.safetensors"
"""Embeddings of some queries of the run, by which an index is measured."""


def open_bundle(place: str | Path, *, verify: bool = True, threads: int = 1) -> Retriever:
    """Open a bundle for search.

    Args:
        place: a folder, or a URL that fsspec knows, from which the bundle is pulled into a cache first.
        verify: compare the checksum of every file. Without it, only names and sizes are compared.
        threads: threads of one call of a tower. One is best for single queries and for several threads of your own.

    Raises:
        UserError: no bundle, one of a newer release, or one with a missing, changed or further file; onnxruntime is not
            installed.
    """
    require_whole("Retriever.load", "threads", threads)
    if "://" in str(place):
        from dssm_lightning.retrieval.bundle.transfer import pull_into_cache

        folder, verify = pull_into_cache(str(place)), False  # it is verified
    else:
        folder = Path(place)
        if not folder.is_dir():
            raise UserError(f"bundle {str(place)!r}: there is no such folder")
    manifest = read_manifest(folder)
    verify_files(folder, manifest.files, verify)
    _require_parts(folder, manifest)
    try:
        schemas = Schemas.from_json(read_utf8(folder / SCHEMA))
    except UserError as error:
        raise UserError(f"{folder / SCHEMA}: {error}") from error
    corpus = _corpus(folder, manifest, OnnxTowers(folder, manifest, threads), verify)
    return Retriever(schemas, corpus, manifest.corpus.display, manifest.query_texts, folder, manifest.blend)


def read_embeddings(folder: Path, manifest: Manifest) -> Floats:
    """Map the embeddings (N, D) of a bundle's candidates into memory."""
    shape = (manifest.corpus.count, manifest.corpus.width)
    embeddings: Floats = map_tensor(folder / CORPUS / EMBEDDINGS, "embeddings", shape)
    return embeddings


def read_pictures(folder: Path, manifest: Manifest) -> CandidatePictures | None:
    """Map the small pictures of a bundle's candidates into memory; None if no column has pictures.

    Raises:
        UserError: a file is damaged.
    """
    column, count = manifest.corpus.picture_column, manifest.corpus.count
    if column is None:
        return None
    if f"{CORPUS}/{PICTURES}" not in manifest.files:
        return CandidatePictures.of(column, [None] * count)
    return CandidatePictures.load(folder / CORPUS, column, count)


def read_indexes(folder: Path, manifest: Manifest, embeddings: Floats, verify: bool = True) -> tuple[Index, ...]:
    """Open the indexes of a bundle.

    Raises:
        UserError: an index is damaged, or of another corpus.
    """
    if manifest.num_indexes == 1:
        given = embeddings if manifest.programs.vectors is None else None
        indexes = [load_index(folder / INDEX, given, verify)]
    else:
        indexes = [load_index(folder / INDEX / str(head), verify=verify) for head in range(manifest.num_indexes)]
    for index, checksum in zip(indexes, manifest.corpus.checksums, strict=True):
        if index.count != manifest.corpus.count or index.checksum != checksum:
            raise UserError(
                f"{folder / INDEX} is an index of another corpus, with {index.count:,} vectors; {MANIFEST} describes "
                f"{manifest.corpus.count:,}: build the index again"
            )
    return tuple(indexes)


def _require_parts(folder: Path, manifest: Manifest) -> None:
    """Refuse a manifest that does not list what every bundle has."""
    corpus = [f"{CORPUS}/{name}" for name in (LINES, OFFSETS, HASHES, EMBEDDINGS)]
    for name in [SCHEMA, *corpus]:
        if name not in manifest.files:
            raise UserError(f"{folder}: {MANIFEST} does not list {name!r}; export the bundle again")


def _corpus(folder: Path, manifest: Manifest, towers: OnnxTowers, verify: bool) -> Corpus:
    facts = manifest.corpus
    rows = CandidateRows.load(folder / CORPUS, list(facts.columns), facts.count)
    embeddings = read_embeddings(folder, manifest)
    terms = BM25.load(folder / TERMS) if f"{TERMS}/{TERMS_FILE}" in manifest.files else None
    if terms is not None and terms.count != facts.count:
        raise UserError(f"{folder / TERMS} is an index of {terms.count:,} texts; the corpus has {facts.count:,}")
    indexes = read_indexes(folder, manifest, embeddings, verify)
    return Corpus(towers, rows, embeddings, indexes, terms, facts.columns, read_pictures(folder, manifest))
