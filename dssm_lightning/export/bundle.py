"""Write a bundle: everything that a trained model needs to answer, in one folder."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from dssm_lightning.data.interactions import TEST, VALIDATION
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.evaluation.result_files import write_json
from dssm_lightning.export.candidate_pictures import corpus_pictures, picture_column
from dssm_lightning.export.flat_columns import example_columns
from dssm_lightning.export.model_card import model_card
from dssm_lightning.export.run_facts import RunFacts
from dssm_lightning.export.torch_programs import write_torch_programs
from dssm_lightning.export.towers import export_towers, portable_model, require_installed
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.retrieval.bundle.files import CARD
from dssm_lightning.retrieval.bundle.manifest import Manifest, write_manifest
from dssm_lightning.retrieval.bundle.programs import ExportedTowers
from dssm_lightning.retrieval.bundle.reading import CONFIG, METRICS, SAMPLE, SCHEMA
from dssm_lightning.retrieval.bundle.writing import (
    bundle_folder,
    facts_of,
    require_bundle_or_nothing,
    write_corpus,
)
from dssm_lightning.retrieval.corpus import Corpus
from dssm_lightning.retrieval.indexes import Exact, RecallRow, recall_table
from dssm_lightning.retrieval.indexes.exact import PRECISIONS
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.retrieval.towers import Floats
from dssm_lightning.utils.errors import UserError, require_choice

SAMPLED = 1000
"""Queries whose embeddings are kept, by which an index is measured."""


def export_bundle(
    model: TwoTowerModel,
    data: RetrievalData,
    retriever: Retriever,
    folder: str | Path,
    facts: RunFacts,
    *,
    vectors: str | None = None,
    pt2: bool = False,
    picture: str | None = None,
) -> None:
    """Write a bundle, whole or not at all.

    Args:
        model: a trained model; where its embeddings are cut (``truncate``), that comes before the retriever is made.
        data: the data of its run, encoded with its schemas.
        retriever: of this model over the corpus of these data.
        folder: the bundle; an older bundle in its place is replaced.
        facts: what the run says of the model.
        vectors: what a number of a vector takes in the index: ``float32``, ``float16``, ``int8`` or ``binary``. With
            less than float32, the best candidates are scored again with float32; those of a candidate tower with
            ``vectors: int8`` or ``binary`` with int8, which is what was measured. None = ``binary`` if the
            candidate tower has it, else ``float32``.
        pt2: also write both towers as ``torch.export`` programs.
        picture: the candidates' column of the small pictures to show, paths or bytes of picture files; None = that of a
            feature of pictures, if there is one; "" = no pictures.

    Raises:
        UserError: an unknown precision or column; a retriever of embeddings of another width; a part that ONNX cannot
            hold; the folder holds something else; a package that is not installed.
        OSError: the folder cannot be written, for example because the disk is full.
    """
    require_exportable(folder, vectors)
    assert model.schemas is not None
    schemas = model.schemas
    if retriever.corpus.embeddings.shape[1] != model.widths[1]:
        raise UserError(
            f"export: truncate_dim is {model.truncate_dim}, and the retriever's embeddings are "
            f"{retriever.corpus.embeddings.shape[1]} wide: make the retriever after the model is cut"
        )
    facts = facts if model.truncate_dim is None else facts.at_width(model.truncate_dim)
    column = picture_column(schemas.candidate, data, picture)
    sample = _query_sample(model, data)
    pictures = corpus_pictures(schemas.candidate, data, column)
    rescore = "float32" if model.candidate_tower.vectors is None else "int8"
    vectors = vectors or ("binary" if model.candidate_tower.vectors == "binary" else "float32")
    corpus = replace(_with_precision(retriever, vectors, rescore), pictures=pictures)
    with bundle_folder(Path(folder)) as written:
        query, candidate = (example_columns(each, schemas.candidate) for each in (schemas.query, schemas.candidate))
        programs = export_towers(model, written, examples=(query, candidate))
        if pt2:
            with portable_model(model) as portable:
                write_torch_programs(portable, written, query, candidate)
        write_corpus(written, corpus, programs.vectors is not None)
        _write_texts(written, schemas.to_json(), facts)
        _write_sample(written, sample)
        manifest = _manifest(programs, retriever, corpus, facts)
        recalls = _recalls(corpus, retriever, sample, rescore)
        (written / CARD).write_text(model_card(manifest, schemas, facts, recalls, rescore), encoding="utf-8")
        write_manifest(written, manifest)


def require_exportable(folder: str | Path, vectors: str | None) -> None:
    """Find what would end an export, before anything is computed.

    Raises:
        UserError: an unknown precision; the folder holds something else; a package that is not installed.
    """
    if vectors is not None:
        require_choice("export", "vectors", vectors, PRECISIONS)
    require_installed()
    require_bundle_or_nothing(Path(folder))


def _manifest(programs: ExportedTowers, retriever: Retriever, corpus: Corpus, facts: RunFacts) -> Manifest:
    return Manifest(
        programs=programs,
        scorer=retriever.towers.scorer,
        vector_width=retriever.towers.vector_width,
        corpus=facts_of(corpus, retriever.display),
        num_indexes=retriever.towers.num_indexes,
        query_texts=retriever.query_texts,
        blend=facts.blend,
        source=dict(facts.source),
        versions={name: _version(name) for name in ("dssm-lightning", "torch", "onnx", "onnxruntime", "numpy")},
    )


def _with_precision(retriever: Retriever, precision: str, rescore: str) -> Corpus:
    corpus = retriever.corpus
    if precision == "float32" or not corpus.indexes:
        return corpus
    like = [_index_of(precision, rescore)] * len(corpus.indexes)
    return Corpus.build(retriever.towers, corpus.rows, corpus.embeddings, corpus.terms, corpus.kinds, like)


def _index_of(precision: str, rescore: str) -> Exact:
    return Exact(precision, rescore=None if precision in ("float32", rescore) else rescore)


def _query_sample(model: TwoTowerModel, data: RetrievalData) -> Floats:
    """Return the embeddings (≤ 1,000, D) of held-out queries: of the validation, or else of the test."""
    for fold in (VALIDATION, TEST):
        parts, total = [], 0
        for batch in data.evaluation_batches(fold):
            with torch.inference_mode():
                parts.append(model.embed_rows(model.encode_query, batch.query).float().cpu().numpy())
            total += len(parts[-1])
            if total >= SAMPLED:
                break
        if total:
            sample: Floats = np.concatenate(parts)[:SAMPLED]
            return sample
    return np.empty((0, model.widths[0]), np.float32)


def _recalls(corpus: Corpus, retriever: Retriever, sample: Floats, rescore: str) -> list[RecallRow]:
    """Return what an export with each precision finds of the exact 10 best candidates of the sample."""
    if len(corpus.indexes) != 1 or not len(sample):
        return []
    vectors, queries = (retriever.towers.vectors(each)[0] for each in (corpus.embeddings, sample))
    exact, k = Exact().build(vectors), min(10, len(vectors))
    indexes = [_index_of(each, rescore).build(vectors) for each in PRECISIONS]
    return [recall_table(index, exact, queries, k, ())[0] for index in indexes]


def _write_texts(folder: Path, schemas: str, facts: RunFacts) -> None:
    (folder / SCHEMA).write_text(schemas + "\n", encoding="utf-8")
    (folder / CONFIG).write_text(facts.config, encoding="utf-8")
    write_json(
        folder / METRICS,
        {"metrics": facts.metrics, "intervals": facts.intervals, "baselines": facts.baselines},
    )


def _write_sample(folder: Path, sample: Floats) -> None:
    from safetensors.numpy import save_file

    save_file({"embeddings": np.ascontiguousarray(sample)}, folder / SAMPLE)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
