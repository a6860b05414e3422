"""Run by test_many_ranks.py in an empty folder: processes train, evaluate and refuse.

Each result is a file ``<what>.<number of processes>.<process>.pt``.
"""

from __future__ import annotations

import io
import logging
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import torch
from helpers.ranks import fork
from helpers.small import TOWER, small_data, small_model, small_trainer
from lightning.pytorch import Trainer

from dssm_lightning import RetrievalDataModule, TwoTower
from dssm_lightning.data.negatives.frequency import StreamingFrequency
from dssm_lightning.data.sources import Frames, Synthetic
from dssm_lightning.data.splits import PerQuery, RandomQueries
from dssm_lightning.features import HashedWords, Image
from dssm_lightning.training.callbacks.embedding_writer import EmbeddingWriter
from dssm_lightning.utils import distributed

HERE = Path()
SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.5}}
SCALE = {"class_path": "dssm_lightning.models.scorers.Dot", "init_args": {"logit_scale": 5, "learnable": True}}
Settings = dict[str, dict[str, Any]]


def loss(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": f"dssm_lightning.losses.{name}", "init_args": options}


def cases() -> dict[str, Settings]:
    """Return settings whose training must not depend on the number of processes that share a batch."""
    repeated = {"mask_duplicates": True, "query": [HashedWords(name="text", num_buckets=3)]}
    by_query = {"batch_by": "query", "rows_per_query": 3}
    return {
        "softmax": {"model": {"loss": loss("SampledSoftmax", repeats="count_log_q")}},
        "symmetric": {"model": {"loss": loss("SampledSoftmax", symmetric=True)}, "data": by_query},
        "duplicates": {"data": {**repeated, "source": Synthetic(60, 40, weights=True)}},
        "memory": {"model": {"memory_size": 60, "loss": loss("SampledSoftmax", repeats="inclusion")}},
        "labels": {"model": {"loss": loss("BinaryCrossEntropy")}, "data": {"source": Synthetic(60, 40, labels=True)}},
        "taught": {"model": taught()},
        "widths": {"model": {"loss": loss("Matryoshka", loss="SampledSoftmax", dims=[4, 16]), "memory_size": 60}},
        "chunks": {
            "model": {"encode_chunk_size": 5, "score_chunk_size": 3, "loss": loss("BPR")},
            "data": {"frequency": StreamingFrequency()},
            "trainer": {"accumulate_grad_batches": 2},
        },
    }  # fmt: skip


def taught() -> dict[str, Any]:
    """Return a guide and teachers, each on its own part of the queries and of the corpus."""
    checkpoint = {"class_path": "CheckpointTeacher", "init_args": {"path": "teacher.ckpt"}}
    both = {"class_path": "Ensemble", "init_args": {"teachers": [checkpoint, {"class_path": "BM25Teacher"}]}}
    losses = ["SampledSoftmax", {"class_path": "KLDivergence", "init_args": {"temperature": 3}}]
    return {
        "loss": loss("WeightedSum", losses=losses),
        "guide": {"class_path": "GuidedNegatives", "init_args": {"guide": checkpoint, "relative_margin": 0.1}},
        "teacher": both,
        "score_chunk_size": 5,
    }


def make_teacher() -> None:
    """Train a teacher for a few steps; it has other features than the students."""
    data = small_data(HERE / "cache", query=[HashedWords(name="text", num_buckets=50)])
    trainer = process_trainer(limit_val_batches=0, max_epochs=2)
    trainer.fit(built(data), datamodule=data)
    trainer.save_checkpoint(HERE / "teacher.ckpt", weights_only=True)


def process_trainer(**settings: Any) -> Trainer:
    """Return a trainer of this process, among all processes."""
    world_size = distributed.world_size()
    os.environ |= {"LOCAL_RANK": str(distributed.process_rank()), "NODE_RANK": "0"}  # as a launcher sets them
    strategy = settings.pop("strategy", "ddp") if world_size > 1 else "auto"
    return small_trainer(HERE, devices=world_size, strategy=strategy, use_distributed_sampler=False, **settings)


def built(data: RetrievalDataModule, **settings: Any) -> TwoTower:
    torch.manual_seed(0)
    model = small_model(**{"optimizer": SGD, "scorer": SCALE, **settings})
    model.build(data.schemas)
    return model


def train(settings: Settings) -> dict[str, Any]:
    """Return weights and metrics after an epoch with batches of 24 rows, or queries, of all processes."""
    size = 24 // distributed.world_size()
    data = small_data(HERE / "cache", **{"batch_size": size, **settings.get("data", {})})
    model = built(data, **settings.get("model", {}))
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = process_trainer(**settings.get("trainer", {}))
    trainer.fit(model, datamodule=data)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    return {"weights": model.state_dict(), "metrics": metrics, "steps": trainer.global_step, "before": before}


def few() -> Frames:
    """Return five queries that like three of four candidates each: two processes embed all four, a third none."""
    texts = pl.Series("text", ["red round", "blue round", "red flat", "blue flat", "red"])
    likes = [(query, (query + step) % 4) for query in range(5) for step in range(3)]
    events = pl.DataFrame(likes, {"query_id": pl.Int64, "candidate_id": pl.Int64}, orient="row")
    queries, candidates = (pl.DataFrame([pl.Series(name, range(5)), texts]) for name in ("query_id", "candidate_id"))
    return Frames(events, queries, candidates[:4])


def measure(num_queries: int, evaluate: str) -> dict[str, Any]:
    """Return the metrics of a test with few queries, in total and by query; write the embeddings of the corpus."""
    data = small_data(
        HERE / "cache",
        source=Synthetic(num_queries, 40, likes=3) if num_queries > 5 else few(),
        split=RandomQueries(test=0.4, validation=0.2) if evaluate == "query" else PerQuery(test=0.3, validation=0.3),
        evaluate=evaluate,
        rank="held_out" if evaluate == "event" else "corpus",
    )
    model = built(data)
    [metrics] = process_trainer().test(model, datamodule=data, verbose=False)
    assert model.row_values is not None
    writer = EmbeddingWriter(str(HERE / f"of-{num_queries}-{evaluate}-by-{distributed.world_size()}.parquet"))
    process_trainer(callbacks=[writer]).predict(model, datamodule=data, return_predictions=False)
    return {"metrics": metrics, "query": model.row_values.query, "values": model.row_values.values}


def refused(make: Callable[[], tuple[TwoTower, RetrievalDataModule]], **settings: Any) -> str:
    """Return the error message of a fit, or "nothing"."""
    try:
        model, data = make()
        process_trainer(**settings).fit(model, datamodule=data)
    except ValueError as error:
        return str(error)
    return "nothing"


def differing(process_rank: int) -> dict[str, str]:
    """Return the error messages if the last process has another setting, seed, schema or other data."""
    other = process_rank == distributed.world_size() - 1

    def made(model: dict[str, Any] | None = None, data: dict[str, Any] | None = None) -> Any:
        module = small_data(HERE / f"own-cache-{process_rank}", **{"batch_size": 8, **((data or {}) if other else {})})
        return lambda: (built(module, **((model or {}) if other else {})), module)

    def seeded() -> str:
        os.environ["PL_GLOBAL_SEED"] = "4" if other else "3"
        message = refused(made())
        os.environ["PL_GLOBAL_SEED"] = "3"
        return message

    wider = [HashedWords(name="text", num_buckets=301)]
    found = {
        "loss": refused(made(model={"loss": loss("BPR")})),
        "batch size": refused(made(data={"batch_size": 7})),
        "schema": refused(made(data={"query": wider})),
        "data": refused(made(data={"source": Synthetic(60, 40, seed=1)})),
        "seed": seeded(),
        "epochs": refused(made(), max_epochs=2 + other),
    }
    return {**found, "own caches": refused(made())}


def resting(strategy: str) -> dict[str, Any]:
    """Train with a backbone that is frozen for an epoch. Return the error message, and whether and how it moved."""
    backbone = {
        "class_path": "dssm_lightning.models.encoders.Backbone",
        "init_args": {"name": "shufflenet_v2_x0_5", "output_dim": 8, "frozen_epochs": 1},
    }
    tower = {**TOWER, "init_args": {**TOWER["init_args"], "encoders": {"picture": backbone}}}
    data = small_data(HERE / "cache", batch_size=48, candidate=[Image(name="picture", size=32)])
    model = built(data, candidate_tower=tower)
    encoder: Any = model.candidate_tower.encoders["picture"]
    before = [value.clone() for value in encoder.backbone.parameters()]
    limits = {"limit_train_batches": 2, "limit_val_batches": 0, "max_epochs": 2}
    message = refused(lambda: (model, data), strategy=strategy, **limits)
    after = list(encoder.backbone.parameters())
    moved = not all(map(torch.equal, before, after))
    return {"message": message, "moved": moved, "weights": torch.cat([value.detach().flatten() for value in after])}


def logged(cross_device_negatives: bool) -> list[str]:
    """Return the log lines of a fit about negatives."""
    logger, lines = logging.getLogger("dssm_lightning"), io.StringIO()
    logger.addHandler(handler := logging.StreamHandler(lines))
    data = small_data(HERE / "cache", batch_size=6, mask_known=False)
    model = built(data, cross_device_negatives=cross_device_negatives)
    process_trainer(limit_val_batches=0, limit_train_batches=3, max_epochs=2).fit(model, datamodule=data)
    logger.removeHandler(handler)
    return [line for line in lines.getvalue().splitlines() if "negatives on average" in line]


def work(process_rank: int, world_size: int) -> None:
    """Run everything, in one process."""
    warnings.simplefilter("ignore")
    if world_size > 1:  # Lightning warns for each metric without a reduction
        warnings.filterwarnings("error", message="It is recommended to use `self.log")
    os.environ["PL_GLOBAL_SEED"] = "3"
    logging.getLogger("dssm_lightning").setLevel(logging.INFO)

    def keep(what: str, found: dict[str, Any] | list[str]) -> None:
        torch.save(found, HERE / f"{what}.{world_size}.{process_rank}.pt")

    if world_size == 1:
        make_teacher()
    for name, settings in cases().items():
        if world_size < 3 or name == "symmetric":
            keep(name, train(settings))
    for num_queries in (5, 40):
        for evaluate in ("query", "event"):
            keep(f"measured-{num_queries}-{evaluate}", measure(num_queries, evaluate))
    if world_size == 2:
        keep("differing", differing(process_rank))
        keep("resting", resting("ddp"))
        keep("resting-with-unused", resting("ddp_find_unused_parameters_true"))
        keep("logged", [*logged(True), *logged(False)])


if __name__ == "__main__":
    for number in (1, 2, 3):
        fork(work, number)
