"""scripts/lightfm_rival.py: what LightFM reads, the order of its scores, and whose rows it learns and ranks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import SCRIPTS
from numpy.typing import NDArray

from dssm_lightning.utils.ragged import Ragged

Matrix = NDArray[np.float32]


class FakeLightFM:
    """Embeddings of known values, in place of the library, which is not installed for the tests."""

    def __init__(self, **settings: Any) -> None:
        self.settings, self.epochs = settings, 0

    def fit_partial(self, likes: Any, *, epochs: int, **_: Any) -> None:
        """Keep the pairs that would be learnt."""
        self.likes, self.epochs = likes.toarray(), self.epochs + epochs

    def get_user_representations(self, features: Any) -> tuple[Matrix, Matrix]:
        """A bias that must change nothing, and one embedding for each row."""
        return np.full(features.shape[0], 7.0, np.float32), np.eye(features.shape[0], 2, dtype=np.float32)

    def get_item_representations(self, features: Any) -> tuple[Matrix, Matrix]:
        """A bias for each row, and embeddings whose first number is twice the row."""
        rows = np.arange(features.shape[0], dtype=np.float32)
        return 0.5 * rows, np.stack([2 * rows, -rows], axis=1)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(SCRIPTS)
    monkeypatch.setitem(sys.modules, "lightfm", SimpleNamespace(LightFM=FakeLightFM))  # type: ignore[arg-type]
    import lightfm_rival

    yield lightfm_rival
    del sys.modules["lightfm_rival"]


def test_each_column_of_categories_weighs_one(script: ModuleType) -> None:
    genres = Ragged.from_lengths(torch.tensor([2, 0, 1]), torch.tensor([2, 0, 1]))
    found = script.columns_of({"id": torch.tensor([1, 2, 0], dtype=torch.int32), "genres": genres}).toarray()
    assert found.tolist() == [[0, 1, 0, 0.5, 0, 0.5], [0, 0, 1, 0, 0, 0], [1, 0, 0, 0, 1, 0]]


def test_numbers_are_no_categories(script: ModuleType) -> None:
    with pytest.raises(AssertionError, match="categories"):
        script.columns_of({"age": torch.tensor([0.5])})


def test_scores_and_positives_are_those_of_the_data(script: ModuleType) -> None:
    ids = torch.arange(3, dtype=torch.int32)
    rival = script.LightFMRival({"id": ids}, {"id": ids}, no_components=2)
    positives = Ragged.from_lengths(torch.tensor([0, 2, 1]), torch.tensor([2, 0, 1]))
    rival.fit(SimpleNamespace(positives=positives, num_candidates=3))
    rival.train(2)
    rival.train(3)
    assert rival.model.likes.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert (rival.model.epochs, rival.model.settings) == (5, {"no_components": 2})
    scores = rival.scores(SimpleNamespace(query_row=torch.tensor([1, 0])))
    assert scores.tolist() == [[0, -0.5, -1], [0, 2.5, 5]]  # row 1: −rows + rows/2; row 0: 2 rows + rows/2
