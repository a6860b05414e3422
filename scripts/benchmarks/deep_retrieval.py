"""Deep retrieval on MovieLens-100K as ``bench.py`` times it: a fit by Lightning that takes turns with a plain loop."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from benchmarks.inputs import made_up_100k
from benchmarks.report import Row, Section, alternate, clock, rates
from benchmarks.rivals import PlainDeepRetrieval
from dssm_lightning.api import load_datamodule, load_untrained
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.interactions import TEST
from dssm_lightning.data.sources import MovieLens
from dssm_lightning.evaluation.evaluator import SEEN_KEPT, Evaluation, resolve_ks
from dssm_lightning.training.atomic_checkpoint_io import AtomicCheckpointIO
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.hard_negative_mining import evaluating
from dssm_lightning.training.module import TwoTower
from dssm_lightning.utils.seeding import Counter

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "movielens-100k-deep-retrieval.yaml")


def deep_retrieval(
    epochs: int = 9,
    repeats: int = 5,
    num_ratings: int | None = None,
    batch_size: int = 2048,
    ks: tuple[int, ...] = (1, 10, 100),
) -> Section:
    """`configs/movielens-100k-deep-retrieval.yaml` through Lightning, against a plain torch loop of the same shapes.

    Ours is the whole of a `fit`, with its loggers and checkpoints. The loop has index tensors, dense Adagrad and one
    in-batch softmax over 2,048 columns, as the original; the sides train an epoch by turns. In evaluation it takes the
    100 best of each event by `topk`, for the recalls with seen films kept; ours gives all 54 metrics. The ratings are
    MovieLens-100K's where `DSSM_DATA` says where they lie, else as many made-up ones.
    """
    with TemporaryDirectory() as folder:
        data = film_data(Path(folder), num_ratings, batch_size)
        model = load_untrained([CONFIG])
        model.build(data.schemas)
        rows = data.assembler.rows
        other = PlainDeepRetrieval(model.query_tower, model.candidate_tower, data.data)
        batch = data.assembler.batch(rows[:batch_size], Counter(0))
        ours = model.per_query_loss(batch).value + batch.candidates.count[batch.target].log()
        assert torch.allclose(ours, other.losses(batch.row), atol=1e-4), "the sides compute the same loss"
        test, evaluate = data.data.interactions.rows(TEST), partial(_evaluated, model, data)
        found = evaluate()
        for name, value in other.recalls(test, list(ks)).items():
            assert abs(found[SEEN_KEPT + name] - value) < 0.002, f"the sides compute the same {name}, but for ties"
        evaluated = alternate([evaluate, partial(other.recalls, test, list(ks))], repeats)
        optimizer = torch.optim.Adagrad(other.parameters(), lr=0.1, initial_accumulator_value=0.1, eps=1e-7)
        turns = Turns(partial(other.train_epoch, optimizer, rows, batch_size))
        trained = fit_by_turns(model, data, turns, epochs, Path(folder))
    steps, events = len(rows) // batch_size, f"{len(test):,} events × {data.num_candidates:,} films"
    limit = "products at GEMM speed (`step_profile`)"
    table = [
        Row(
            f"training, batches of {batch_size:,}",
            "rows/s",
            *(rates(steps * batch_size, each) for each in trained),
            limit=limit,
        ),
        Row(f"evaluation, {events}", "s", *evaluated, limit="the product at GEMM speed"),
    ]
    return Section("Deep retrieval", table, [f"A batch has {len(batch.candidates.id):,} distinct films."])


def film_data(folder: Path, num_ratings: int | None, batch_size: int) -> RetrievalDataModule:
    """The config's data: MovieLens-100K, or as many made-up ratings (or so many)."""
    data = load_datamodule([CONFIG])
    data.cache_dir, data.batch_size, source = folder, batch_size, data.recipe.source
    assert isinstance(source, MovieLens)
    given = None if num_ratings else os.environ.get("DSSM_DATA")
    source.root = given or str(made_up_100k(folder, num_ratings or 100_000))
    return data


def _evaluated(model: TwoTower, data: RetrievalDataModule) -> dict[str, float]:
    """All test events ranked, as an epoch's validation ranks."""
    evaluation = Evaluation(resolve_ks(None, data.num_candidates), data.labelled)
    with evaluating(model):
        corpus = model.embed_corpus(data.corpus_batches(), data.num_candidates)
        for batch in data.evaluation_batches(TEST):
            evaluation.update(model.score(batch.query, corpus), batch)
    return evaluation.compute()


class Turns(Callback):
    """Times Lightning's epochs with all that it does between them, and gives the other side a turn after each."""

    def __init__(self, other: Callable[[], object]) -> None:
        self.other = other
        self.ours: list[float] = []
        self.theirs: list[float] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on."""
        self.since = clock()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The other side's turn; checkpoints are written after this, in our next one."""
        ended = clock()
        self.other()
        self.ours.append(ended - self.since)
        self.since = clock()
        self.theirs.append(self.since - ended)


class StepTurns(Turns):
    """Times the steps of Lightning's epochs alone, without what it does between epochs."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on."""
        self.since = clock()


def fit_by_turns(
    model: TwoTower, data: RetrievalDataModule, turns: Turns, epochs: int, folder: Path
) -> list[list[float]]:
    """Seconds of a fit's epochs, with the loggers and checkpoints that every fit has, and of the other side's turns.

    One turn of each to warm up does not count.
    """
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs + 1,
        logger=[CSVLogger(folder), TensorBoardLogger(folder)],
        callbacks=[turns, BestCheckpoint(), LastCheckpoint()],
        plugins=[AtomicCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice about workers and logging intervals
        trainer.fit(model, data)
    return [turns.ours[1:], turns.theirs[1:]]
