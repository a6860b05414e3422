"""Small bundles, and manifests that are changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.retrievers import shop

from dssm_lightning.api import make_retriever
from dssm_lightning.export import export_bundle
from dssm_lightning.export.run_facts import RunFacts
from dssm_lightning.retrieval.bundle.files import MANIFEST, list_files
from dssm_lightning.retrieval.hybrid import Hybrid
from dssm_lightning.retrieval.retriever import Retriever

FACTS = RunFacts("data: {}\n", {}, {}, {}, {"checkpoint": "last.ckpt", "run": "shop/version_0"})


def export(model: Any, data: Any, folder: Path, facts: RunFacts = FACTS, **options: Any) -> Path:
    """Write the bundle of a model over the corpus of its data."""
    export_bundle(model, data, make_retriever(model, data), folder, facts, **options)
    return folder


def make_shop_bundle(folder: Path, **changes: Any) -> Path:
    """The bundle of an untrained model over 30 candidates."""
    return export(*shop(folder / "cache", **changes), folder / "bundle")


def copied(bundle: Path, target: Path) -> Path:
    """A copy that a test may damage."""
    shutil.copytree(bundle, target)
    return target


def change_manifest(bundle: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the values of ``manifest.json``; a result other than None takes their place."""
    path = bundle / MANIFEST
    values = json.loads(path.read_text(encoding="utf-8"))
    result = change(values)
    path.write_text(json.dumps(values if result is None else result), encoding="utf-8")


def refit_manifest(bundle: Path) -> None:
    """Let the manifest list the files that are in the folder by now, with their checksums."""

    def change(values: dict[str, Any]) -> None:
        values["files"] = {name: content._asdict() for name, content in list_files(bundle).items()}

    change_manifest(bundle, change)


def same_answers(found: Retriever, wanted: Retriever, queries: list[Any], k: int = 10, **options: Any) -> None:
    """The same ids and scores; neighbours whose scores differ by less than 1e-5 may change places."""
    for one, other in zip(found.search(queries, k, **options), wanted.search(queries, k, **options), strict=True):
        np.testing.assert_allclose([hit.score for hit in one], [hit.score for hit in other], rtol=1e-4, atol=1e-4)
        scores = {hit.id: hit.score for hit in other}
        ends = other[-1].score
        for hit, expected in zip(one, other, strict=True):
            assert hit.id == expected.id or abs(scores.get(hit.id, ends) - expected.score) < 1e-5


def same_fusion(found: Retriever, wanted: Retriever, queries: list[Any], k: int = 10) -> None:
    """The hits of a reciprocal rank fusion of weight 1, whose ranks follow from the other's scores.

    Scores that differ by less than 1e-5, as those of two equal texts do by rounding, may have either's rank.
    """
    size = len(wanted)
    ids = [wanted.corpus.rows.id(row) for row in range(size)]
    hybrid = Hybrid(wanted.corpus.terms, wanted.query_texts, 1.0)
    words = hybrid.words_of(hybrid.texts_of(queries))
    model = [{hit.id: hit.score for hit in hits} for hits in wanted.search(queries, size)]
    for hits, scores, terms in zip(found.search(queries, k, hybrid=1.0), model, words, strict=True):
        lists = [np.array([scores[key] for key in ids]), np.where(terms > 0, terms, -np.inf)]  # 0 = no word found
        least = dict(zip(ids, sum(_shares(values, 1e-5) for values in lists), strict=True))
        most = dict(zip(ids, sum(_shares(values, -1e-5) for values in lists), strict=True))
        assert all(least[hit.id] - 1e-9 <= hit.score <= most[hit.id] + 1e-9 for hit in hits)
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert len(hits) == k == len({hit.id for hit in hits})
        assert all(least[key] <= hits[-1].score + 1e-9 for key in set(ids) - {hit.id for hit in hits})


def _shares(scores: Any, slack: float) -> Any:
    """1 / (60 + rank) of each score (N,), with every score higher by more than −slack before it; 0 for −∞."""
    before = (scores[None, :] > scores[:, None] - slack).sum(axis=1) - (slack > 0)
    return np.where(np.isneginf(scores), 0.0, 1.0 / (61.0 + before))
