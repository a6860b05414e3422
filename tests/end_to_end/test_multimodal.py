"""``configs/multimodal.yaml``: its published size, and its training on a few synthetic films and on emoji."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from helpers.paths import CONFIGS

from dssm_lightning.cli.commands.summary import summary
from dssm_lightning.cli.main import main
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.utils.ragged import Ragged

CONFIG = str(CONFIGS / "multimodal.yaml")
FILMS, USERS, LIKES = 12, 8, 6
BRIEF = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=2",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.accelerator=cpu",
]


@pytest.fixture(autouse=True)
def _a_few_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files in the format of MovieLens-1M; one film has no poster."""
    folder = tmp_path / "ml-1m"
    (folder / "posters").mkdir(parents=True)
    rng = np.random.default_rng(0)
    (folder / "users.dat").write_text("".join(f"{user}::F::25::1::12345\n" for user in range(1, USERS + 1)))
    names = [f"{film}::Film number {film} (19{70 + film})::Drama" for film in range(1, FILMS + 1)]
    (folder / "movies.dat").write_text("\n".join(names) + "\n")
    ratings = [
        f"{user}::{film}::{5 if film % 5 else 2}::{time}"
        for user in range(1, USERS + 1)
        for time, film in enumerate(rng.permutation(FILMS)[:LIKES] + 1)
    ]
    (folder / "ratings.dat").write_text("\n".join(ratings) + "\n")
    for film in range(2, FILMS + 1):
        pixels = rng.integers(0, 256, (24, 16, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(folder / "posters" / f"{film}.jpg")
    monkeypatch.setenv("DSSM_DATA", str(tmp_path))
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    monkeypatch.chdir(tmp_path)


def test_the_published_size_branch_by_branch() -> None:
    described = summary([CONFIG])
    user = 100_000 * 128 + (128 * 128 + 128)  # a table and a layer
    first, second = (2 * (4 * 128 * (width + 128) + 2 * 4 * 128) for width in (128, 256))  # LSTM layers, both ways
    text = 30_000 * 128 + first + second + (256 * 128 + 128)
    resnet18 = 11_689_512 - (512 * 1000 + 1000)  # as torchvision counts it, without its classifier
    picture = resnet18 + 512 + (512 * 128 + 128)  # with the vector of what has no picture
    output = 256 * 128 + 128
    found = [
        (branch.feature.name, branch.encoder.parameters, branch.encoder.shape)
        for side in (described.query, described.candidate)
        for branch in side.branches
    ]
    assert found == [
        ("user_id", user, ("B", 128)),
        ("query_text", text, ("B", 128)),
        ("title", text, ("B", 128)),
        ("picture", picture, ("B", 128)),
    ]
    scale = 1  # the scorer's, which is fixed
    assert described.parameters == user + text + text + picture + 2 * output + scale == 33_189_697
    assert described.query.layers[-1].kind == "Dropout 0.5 · Linear 256 → 128 · ReLU"
    assert described.candidate.layers[-1].kind == described.query.layers[-1].kind


def test_the_query_text_is_the_title_of_the_film_liked_before() -> None:
    cli = main(["fit", "--config", CONFIG, *BRIEF, "--trainer.limit_train_batches=1", "--data.batch_size=8"])
    data = cli.datamodule
    assert isinstance(data, RetrievalDataModule)
    interactions, words = data.data.interactions, data.schemas.candidate["title"].vocabulary  # type: ignore[attr-defined]  # Words
    rows = torch.arange(len(interactions.query))
    texts = data.assembler.event_features(rows)["query_text"]
    assert isinstance(texts, Ragged)
    assert interactions.time is not None
    for row in rows.tolist():
        earlier = (interactions.query == interactions.query[row]) & (interactions.time < interactions.time[row])
        liked = (earlier & (interactions.fold == 0)).nonzero().squeeze(1)  # of the training rows
        ids = texts.values[texts.offsets[row] : texts.offsets[row + 1]].tolist()
        if len(liked):
            before = interactions.candidate[liked[interactions.time[liked].argmax()]]
            title = data.candidates["title"][int(before)]
            assert [words[i - 1] for i in ids] == title.lower().replace("(", "").replace(")", "").split()
        else:
            assert ids == []


def test_it_trains_and_is_measured(tmp_path: Path) -> None:
    cli = main(["fit", "--config", CONFIG, *BRIEF])
    before = cli.model.state_dict()
    pixels = cli.datamodule.data.candidate["picture"]
    assert (pixels[:, -1].flatten(1).amax(1) > 0).tolist() == [False] + [True] * (FILMS - 1)
    tested = main(["test"])
    assert all(torch.equal(value, before[name]) for name, value in tested.model.state_dict().items())
    found = main(["search", "--query", '{"user_id": 3, "query_text": ["Film number 4 (1974)"]}', "--k", "2"])
    assert len(found[0]) == 2


def test_it_trains_on_emoji(tmp_path: Path) -> None:
    """With small pictures: there are nearly two thousand."""
    overlay = str(CONFIGS / "multimodal-emoji.yaml")
    small = "[{class_path: Words, init_args: {name: title, column: name, max_tokens: 29999, num_embeddings: 30000}}, "
    small += "{class_path: Image, init_args: {name: picture, column: picture, size: 32}}]"
    options = [*BRIEF, "--trainer.limit_val_batches=0", "--checkpoint.monitor=null", f"--data.candidate={small}"]
    cli = main(["fit", "--config", CONFIG, "--config", overlay, *options])
    assert cli.datamodule.schemas.query["user_id"].vocabulary == ("de", "en", "es", "fr", "ru")
    assert cli.trainer.global_step == 2
