"""The JSON of hits is that of each hit alone, whatever was kept, and what is kept has a limit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dssm_lightning.retrieval.hits import Hit
from dssm_lightning.serving.hit_json import HitJson


def address(candidate_id: Any) -> str | None:
    return None if candidate_id == "c2" else f"/pictures/shop/{candidate_id}"


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("most", [0, 150, 1 << 20])
def test_each_hit_is_as_it_is_alone(pictures: bool, most: int) -> None:
    hits = [Hit(f"c{n}", n / 7, {"title": f"a “{n}”", "price": float(n)}) for n in range(9)]
    written = HitJson(address if pictures else None, most)
    for _ in range(3):
        for scored in (True, False):
            expected = [
                {"id": hit.id}
                | ({"score": hit.score} if scored else {})
                | {"display": dict(hit.display)}
                | ({"picture": address(hit.id)} if pictures else {})
                for hit in hits
            ]
            assert json.loads(written.of(hits, scored)) == expected
            assert written.kept_bytes <= most
    assert written.of([]) == b"[]"


def test_a_score_is_never_kept() -> None:
    written = HitJson(None)
    assert [json.loads(written.of([Hit("c1", score, {})]))[0]["score"] for score in (0.5, 0.25)] == [0.5, 0.25]


def test_ids_that_are_equal_and_of_other_types_are_kept_apart() -> None:
    written = HitJson(None)
    assert written.of([Hit(1, 0.5, {}), Hit(True, 0.5, {})]).count(b'"id":true') == 1


def test_long_texts_do_not_fill_the_memory() -> None:
    written = HitJson(None, most=100_000)
    for number in range(500):
        written.of([Hit(number, 0.5, {"text": "x" * 10_000})])
        assert written.kept_bytes <= 100_000
    written.of([Hit("long", 0.5, {"text": "x" * 200_000})])
    assert written.kept_bytes <= 100_000
