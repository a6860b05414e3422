"""Bundles of earlier releases, kept in ``tests/golden``, open in every later release and give the same answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import copied, same_answers
from helpers.paths import GOLDEN, ROOT

from dssm_lightning import Retriever
from dssm_lightning.retrieval.bundle.files import names_in, verify_files
from dssm_lightning.retrieval.bundle.manifest import read_manifest

BUNDLES = sorted(path.name for path in GOLDEN.glob("bundle-*") if path.is_dir())


@pytest.fixture(params=BUNDLES)
def golden(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / request.param


def stated(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(golden.with_name(f"{golden.name}.json").read_text(encoding="utf-8"))
    return found


def test_there_are_bundles_of_small_size() -> None:
    assert "bundle-0.1.0" in BUNDLES
    for name in BUNDLES:
        assert sum(path.stat().st_size for path in (GOLDEN / name).rglob("*")) < 200_000


def test_a_bundle_is_as_it_was_written(golden: Path) -> None:
    """Git neither changes the ends of lines nor leaves out a file."""
    verify_files(golden, read_manifest(golden).files)
    assert not [name for name in names_in(golden) if name.rpartition("/")[2].startswith(".")]
    [rule] = [line for line in (ROOT / ".gitattributes").read_text().splitlines() if "tests/golden" in line]
    assert rule.split()[1] == "-text"


def test_the_answers_are_the_same(golden: Path) -> None:
    values = stated(golden)
    assert len(values["queries"]) == 5
    with Retriever.load(golden) as retriever:
        for options, wanted in zip(values["searches"], values["answers"], strict=True):
            found = retriever.search(values["queries"], k=5, **options)
            for hits, expected in zip(found, wanted, strict=True):
                assert [hit.id for hit in hits] == [candidate for candidate, _ in expected], options
                assert [hit.score for hit in hits] == pytest.approx([score for _, score in expected], abs=1e-4)
                assert all(set(hit.display) == {"text"} for hit in hits)


def test_candidates_come_and_go_and_are_saved(golden: Path, tmp_path: Path) -> None:
    bundle = copied(golden, tmp_path / "bundle")
    new = {"candidate_id": "new", "text": "mema tege", "vector": [0.5] * 8, "created": "2025-01-01", "picture": None}
    with Retriever.load(bundle) as retriever:
        count = len(retriever)
        retriever.add([new])
        retriever.remove(["c0"])
        retriever.save(bundle)
        queries = stated(golden)["queries"]
        same_answers(Retriever.load(bundle), retriever, queries, k=count)
        [hit] = retriever.search(queries[0], k=9, filter="created > '2024-12-31'")
        assert hit.id == "new"
    manifest = read_manifest(bundle)
    assert (manifest.corpus.count, manifest.format) == (count, read_manifest(golden).format)
