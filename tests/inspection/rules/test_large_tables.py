"""A recommender's table of words that is large is updated row by row, and a small one as a whole."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.profiles import column, files_of, films, table

from dssm_lightning.inspection.config_text import plain
from dssm_lightning.inspection.plan import make_plan


def settings(items: int, mean_words: float) -> dict[str, Any]:
    described = table(
        "candidates",
        items,
        column("film", "category", items, distinct=items),
        column("plot", "text", items, mean_words=mean_words),
    )
    found = films(candidates=described, num_candidates=items)
    config: dict[str, Any] = plain(make_plan(found, files_of(found)).settings)
    return config


@pytest.mark.parametrize(
    ("items", "mean_words", "rows", "sparse"),
    [  # 25 · √T distinct words of T in all, three rows for each, rounded to a power of two
        (1_600, 9.0, 8_192, False),  # T = 14,400: 3,000 words
        (8_100, 100.0, 65_536, True),  # T = 810,000: 22,500 words
    ],
)
def test_a_large_table_of_words_is_sparse(items: int, mean_words: float, rows: int, sparse: bool) -> None:
    config = settings(items, mean_words)
    [words] = [each for each in config["data"]["candidate"] if each["class_path"] == "HashedWords"]
    assert words["init_args"]["num_buckets"] == rows
    encoder = config["model"]["candidate_tower"]["init_args"]["encoders"]["plot_words"]
    assert encoder["init_args"].get("sparse", False) is sparse
    optimizer = config["model"]["optimizer"]["class_path"]
    assert optimizer == ("LazyAdam" if sparse else "torch.optim.Adam")
