"""Deep retrieval on MovieLens-100K as ``bench.py`` times it: a whole fit, against TensorFlow Recommenders' tutorial."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import torch

from benchmarks.deep_retrieval import CONFIG, film_data
from benchmarks.peers import Run, fitted, peer, peer_python
from benchmarks.report import Row, Section
from dssm_lightning.data.interactions import TRAIN
from dssm_lightning.data.sources import MovieLens

KERAS_2 = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
LIMIT = "products at GEMM speed (`step_profile`)"
WAYS = {"tutorial": "its tutorial", "cached": "its tutorial with cached batches"}


def recommenders(epochs: int = 30, batch_size: int = 2048, repeats: int = 3, num_ratings: int | None = None) -> Section:
    """`fit` of `configs/movielens-100k-deep-retrieval.yaml`, against TensorFlow Recommenders' deep retrieval.

    Theirs is the tutorial's model with two layers on the same training rows: `shuffle` and `batch` on the way, as the
    tutorial has it, or with its batches cached in memory, which shuffles them no more. Counted is the processor time of
    an epoch after the first one, ours with its loggers and checkpoints; and of the whole fit after the imports, with
    the preparation of the data, ours with its cache. There is no validation. The ratings are MovieLens-100K's where
    `DSSM_DATA` says where they lie, else as many made-up ones.
    """
    python = peer_python(["tensorflow", "tensorflow_recommenders", "tf_keras"], KERAS_2)
    with TemporaryDirectory() as folder:
        root, file, count = written_ratings(Path(folder), num_ratings, batch_size)
        words = ["--config", CONFIG, "--data.source.init_args.root", root, "--data.batch_size", str(batch_size)]
        words += ["--trainer.max_epochs", str(epochs), "--trainer.limit_val_batches", "0", "--baselines", "false"]
        words += ["--trainer.enable_progress_bar", "false"]
        ours: list[Run] = []
        theirs: dict[str, list[Run]] = {way: [] for way in WAYS}
        for turn in range(repeats):
            ours.append(fitted(words, Path(folder, f"ours-{turn}")))
            for way, runs in theirs.items():
                settings = [str(file), str(epochs), str(batch_size), str(torch.get_num_threads()), way]
                runs.append(peer(python, "peer_deep_retrieval.py", settings, Path(folder, f"{way}-{turn}"), KERAS_2))
    whole = count // batch_size * batch_size  # of each epoch ours trains whole batches, theirs all rows
    assert ours[0].found["steps"] == epochs * (count // batch_size), "ours trains whole batches"
    rows = []
    for way, runs in theirs.items():
        assert runs[0].found["steps"] == epochs * -(-count // batch_size), "theirs trains all rows"
        sides = [whole / run.epoch for run in ours], [count / run.epoch for run in runs]
        rows.append(Row(f"an epoch, {WAYS[way]}", "rows/s", *sides, LIMIT))
        sides = (
            [epochs * whole / run.found["seconds"] for run in ours],
            [epochs * count / run.found["seconds"] for run in runs],
        )
        rows.append(Row(f"fit of {epochs} epochs, {WAYS[way]}", "rows/s", *sides, LIMIT))
    return Section("TensorFlow Recommenders", rows, [f"{count:,} training rows, batches of {batch_size:,}."])


def written_ratings(folder: Path, num_ratings: int | None, batch_size: int) -> tuple[str, Path, int]:
    """Write the training rows as theirs reads them; return the root of ours, the file and the number of rows."""
    data = film_data(folder, num_ratings, batch_size)
    source = data.recipe.source
    assert isinstance(source, MovieLens)
    events, titles = data.data.interactions, data.candidates["title"].to_numpy().astype(str)
    rows = events.rows(TRAIN)
    assert events.time is not None
    user = data.data.queries[:, 0].cast(pl.String).to_numpy().astype(str)
    file = folder / "ratings.npz"
    np.savez(
        file,
        movie_title=titles[events.candidate[rows]],
        user_id=user[events.query[rows]],
        timestamp=events.time[rows].numpy().astype(np.float32),
        titles=np.unique(titles),
    )
    return str(source.root), file, len(rows)
