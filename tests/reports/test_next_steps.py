"""What a fit says to try: two lines, from facts of the data, the model and the fit."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small import small_data, small_model

from dssm_lightning.data.sources import Synthetic
from dssm_lightning.features import Categorical
from dssm_lightning.reports import next_steps as steps
from dssm_lightning.reports.next_steps import FitFacts, next_steps

FACTS = FitFacts("shop.yaml", learning_rate=0.003, best_epoch=4, epochs=7)


def lines(
    tmp_path: Path, best: str, facts: FitFacts, *, texts: bool = True, weights_for_a_pair: float = 1e9
) -> list[str]:
    features = (
        {} if texts else {"query": [Categorical(name="query_id")], "candidate": [Categorical(name="candidate_id")]}
    )
    data = small_data(tmp_path, source=Synthetic(num_queries=60, num_candidates=40), **features)
    model = small_model()
    model.build(data.schemas)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steps, "WEIGHTS_FOR_A_PAIR", weights_for_a_pair)
        return next_steps(model, data, best, facts)


def test_few_pairs_of_texts_need_a_start_by_rarity(tmp_path: Path) -> None:
    first, second = lines(tmp_path, "BM25(k1=1.2, b=0.75)", FACTS)
    assert "TermBag" in first
    assert "tune --config shop.yaml" in second


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (FACTS._replace(best_epoch=7), "max_epochs, now 7"),
        (FACTS._replace(best_epoch=1), "lr 0.001, now 0.003"),
    ],
)
def test_the_epochs_say_whether_it_learns_too_slowly_or_too_fast(tmp_path: Path, facts: FitFacts, said: str) -> None:
    first, second = lines(tmp_path, "EASE(l2=100.0)", facts, texts=False)
    assert said in first
    assert "tune" in second


def test_large_tables_and_what_is_always_possible(tmp_path: Path) -> None:
    assert "weights for" in lines(tmp_path, "EASE(l2=100.0)", FACTS, texts=False, weights_for_a_pair=1)[0]
    tune, doctor = lines(tmp_path, "EASE(l2=100.0)", FACTS._replace(learning_rate=None, best_epoch=0), texts=False)
    assert "tune" in tune
    assert "doctor --config shop.yaml" in doctor
