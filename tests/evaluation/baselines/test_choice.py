"""Baselines are chosen by their names, and a wrong choice is refused."""

from __future__ import annotations

import pytest
from helpers.lists import ragged

from dssm_lightning.evaluation.baselines import BaselineData, choose_baselines
from dssm_lightning.utils.errors import UserError

KNOWN = BaselineData(positives=ragged([[0, 1], [2]]), num_candidates=3)


def names(**chosen: list[str] | list[float]) -> list[str]:
    return [str(each) for each in choose_baselines(KNOWN, **chosen)]  # type: ignore[arg-type]  # of either kind


def test_every_baseline_that_the_data_allow() -> None:
    assert [name.partition("(")[0] for name in names()] == ["Popularity", "ItemKNN", *["EASE"] * 3]


def test_chosen_names_and_penalties() -> None:
    assert names(only=["EASE", "Popularity"], l2=[500.0, 5.0]) == ["Popularity()", "EASE(l2=500.0)", "EASE(l2=5.0)"]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"only": ["Ease"]}, "Ease.*Popularity.*BM25"),
        ({"only": ["BM25"]}, "BM25.*no text"),
        ({"only": ["AttributePopularity"]}, "AttributePopularity.*no category"),
        ({"only": ["BM25"], "l2": [3.0]}, "--l2 3.*EASE"),
        ({"only": ["EASE"], "days": [3.0]}, "--days 3.*RecentPopularity"),
        ({"l2": [0.0]}, "l2 is 0"),
    ],
)
def test_a_wrong_choice(chosen: dict[str, list[str] | list[float]], message: str) -> None:
    with pytest.raises(UserError, match=message):
        names(**chosen)
