"""The cosine of pixels: against NumPy, on pictures of both sides, and its obstacles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest
import torch
from helpers.lists import ragged

from dssm_lightning.data.batch import EvaluationBatch
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomQueries
from dssm_lightning.evaluation.baselines import BaselineData, PixelCosine
from dssm_lightning.evaluation.baselines.base import Pictures
from dssm_lightning.evaluation.measure_baselines import measure_baselines
from dssm_lightning.features import Feature, Image, Numeric
from dssm_lightning.utils.errors import UserError

NOTHING = ragged([[]])


def pictures(count: int) -> torch.Tensor:
    pixels = torch.randint(0, 256, (count, 4, 8, 8), dtype=torch.uint8)
    pixels[:, -1] = 255
    return pixels


def test_against_numpy() -> None:
    corpus, asked = pictures(5), pictures(3)
    corpus[2], asked[1] = 0, 0  # no picture
    baseline = PixelCosine(side=4)
    baseline.fit(BaselineData(positives=NOTHING, num_candidates=5, pictures=Pictures(asked, corpus)))
    found = baseline.scores(EvaluationBatch({}, torch.arange(3), NOTHING, NOTHING, None)).numpy()

    def small(pixels: torch.Tensor) -> np.ndarray:
        values = pixels[:, :3].numpy().astype(np.float64)
        return np.asarray(values.reshape(len(values), 3, 4, 2, 4, 2).mean((3, 5)).reshape(len(values), -1))

    mean = small(corpus)[[0, 1, 3, 4]].mean(0)
    for query, candidate in np.ndindex(3, 5):
        a, b = small(asked)[query] - mean, small(corpus)[candidate] - mean
        expected = 0.0 if query == 1 or candidate == 2 else a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert found[query, candidate] == pytest.approx(expected, abs=1e-5)


def data(folder: Path, query: Feature) -> RetrievalData:
    for number in range(20):
        noise = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        PIL.Image.fromarray(noise).save(folder / f"{number}.png")
        PIL.Image.fromarray(noise // 2).save(folder / f"dark{number}.png")
    ids = pl.DataFrame({"query_id": range(20), "candidate_id": range(20)})
    queries = ids.select("query_id", size=pl.lit(1.0), photo=pl.format("dark{}.png", "query_id"))
    candidates = ids.select("candidate_id", photo=pl.format("{}.png", "candidate_id"))
    return RetrievalData(
        Frames(ids.with_columns(shot=pl.format("dark{}.png", "query_id")), queries, candidates),
        query=[query],
        candidate=[Image(name="photo", size=16, root=str(folder))],
        split=RandomQueries(test=0.5, validation=0.0),
        cache_dir=str(folder / "cache"),
    )


def test_a_darker_copy_of_a_picture_is_found(tmp_path: Path) -> None:
    query = Image(name="asked", column="photo", size=16, root=str(tmp_path))
    [pixels] = list(measure_baselines(data(tmp_path, query), only=["PixelCosine"]))
    assert pixels.name == "PixelCosine(side=16)"
    assert pixels.metrics["hit_rate@1"] == 1


@pytest.mark.parametrize("by_event", [False, True])
def test_the_features_of_a_frozen_backbone_are_not_taken_for_pictures(tmp_path: Path, by_event: bool) -> None:
    """A fit puts them in the place of pictures in batches, and ends with baselines of the same data."""
    query = Image(name="asked", column="shot" if by_event else "photo", size=16, root=str(tmp_path))
    made = data(tmp_path, query)
    made.evaluate = "event" if by_event else "query"
    features = {"asked": torch.zeros(20, 3)}
    made.assembler.replace_columns(
        {"event" if by_event else "query": features, "candidate": {"photo": torch.zeros(20, 3)}}
    )
    [pixels] = list(measure_baselines(made, only=["PixelCosine"]))
    assert pixels.metrics["hit_rate@1"] == 1


@pytest.mark.parametrize("query", [Numeric(name="size"), Image(name="photo", size=8)], ids=["no picture", "smaller"])
def test_its_obstacle(query: Feature, tmp_path: Path) -> None:
    query = Image(name="photo", size=8, root=str(tmp_path)) if isinstance(query, Image) else query
    with pytest.raises(ValueError, match=r"PixelCosine: .*one size and mode"):
        list(measure_baselines(data(tmp_path, query), only=["PixelCosine"]))


@pytest.mark.parametrize("side", [0, -1, 1.5])
def test_bad_sides(side: Any) -> None:
    with pytest.raises(UserError, match=f"PixelCosine: side is {side}"):
        PixelCosine(side)
