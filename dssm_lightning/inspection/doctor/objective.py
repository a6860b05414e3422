"""The loss, the scorer and the layers: settings that are certainly wrong together."""

from __future__ import annotations

import math
from collections.abc import Iterator

from torch import Tensor, nn

from dssm_lightning.features import Categorical
from dssm_lightning.inspection.doctor.findings import Finding, percent, yaml_line
from dssm_lightning.inspection.doctor.subject import SIDES, Subject
from dssm_lightning.models.encoders import Embedding, EmbeddingBag
from dssm_lightning.training.optimizers.sparse_tables import sparse_tables

HIGHEST_DROPOUT = 0.8
NARROWEST = 8
"""Dimensions of an embedding below which few candidates have a direction of their own."""
LARGE_TABLE = 5_000_000
"""Parameters of a dense table from which each step spends most of its time on rows that no batch uses."""


def check_objective(subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the model itself."""
    if subject.model is None:
        return
    yield from _scale(subject)
    yield from _layers(subject)
    yield from _dense_tables(subject)
    yield from _untied(subject)
    yield from _mining(subject)


def _scale(subject: Subject) -> Iterator[Finding]:
    model = subject.model
    assert model is not None
    scale = getattr(model.scorer, "logit_scale", None)
    if not isinstance(scale, Tensor) or not all(tower.normalize for tower in model.towers.values()):
        return
    factor, loss = float(scale.detach().mean()), model.loss
    learnable = bool(getattr(model.scorer, "learnable", False))
    where = "model.scorer.init_args.logit_scale"
    margin = getattr(loss, "margin", None)
    if margin is not None:
        if factor > 3 and margin < factor / 4:
            found = f"{type(loss).__name__} has a margin of {margin:g}, and logits reach ± {factor:g}: cosines times "
            found += "logit_scale"
            yield Finding("warning", "logit-scale", where, found, yaml_line(where, 1.0))
    elif factor < 3 and not learnable:
        columns = min(subject.data.batch_size, len(subject.prepared.candidates))
        best = 1 / (1 + max(columns - 1, 1) * math.exp(-2 * factor))
        found = f"cosines times {factor:g}: the liked one of {columns:,} candidates reaches a probability of at most "
        found += f"{percent(best)} in {type(loss).__name__}"
        yield Finding("warning", "logit-scale", where, found, yaml_line(where, 20.0))


def _layers(subject: Subject) -> Iterator[Finding]:
    assert subject.model is not None
    for side, tower in subject.model.towers.items():
        path = f"model.{side}_tower.init_args"
        dropout = max((layer.p for layer in tower.modules() if isinstance(layer, nn.Dropout)), default=0.0)
        if dropout > HIGHEST_DROPOUT:
            found = f"a dropout of {dropout:g} leaves {percent(1 - dropout)} of the values"
            yield Finding("warning", "dropout", f"{path}.dropout", found, yaml_line(f"{path}.dropout", 0.2))
        width = tower.output_dim - sum(tower.bypass_dims)
        if width < NARROWEST:
            found = f"embeddings of {width} dimensions for {len(subject.prepared.candidates):,} candidates"
            yield Finding("warning", "width", f"{path}.output_dim", found, yaml_line(f"{path}.output_dim", 64))
        fused = [name for name in tower.encoders if name not in tower.bypass]
        only = tower.encoders[fused[0]] if len(fused) == 1 else None
        features = {feature.name: feature for feature in subject.features(side)}
        is_id = len(fused) == 1 and isinstance(features.get(fused[0]), Categorical)
        if is_id and isinstance(only, Embedding) and any(isinstance(layer, nn.Linear) for layer in tower.hidden):
            found = f"hidden layers over the embedding of {fused[0]!r} alone: each value has a free vector without them"
            change = yaml_line(f"{path}.hidden_dims", [])
            yield Finding("warning", "hidden-layers", f"{path}.hidden_dims", found, change)


def _dense_tables(subject: Subject) -> Iterator[Finding]:
    """Large tables of texts with dense gradients."""
    assert subject.model is not None
    sparse = {id(table) for table in sparse_tables(subject.model).values()}
    for side in SIDES:
        for name, encoder in subject.model.towers[side].encoders.items():
            if type(encoder) not in (EmbeddingBag, Embedding):
                continue
            table = max(encoder.parameters(), key=lambda each: each.numel())
            if table.numel() < LARGE_TABLE or id(table) in sparse:
                continue
            path = f"model.{side}_tower.init_args.encoders.{name}"
            found = f"a table of {table.numel():,} parameters with dense gradients: each step updates all of its rows"
            made = {"class_path": type(encoder).__name__, "init_args": {"output_dim": table.shape[1], "sparse": True}}
            yield Finding("note", "dense-table", path, found, yaml_line(path, made, "with optimizer: LazyAdam"))


def _untied(subject: Subject) -> Iterator[Finding]:
    """Texts of both sides that are encoded equally, in tables of their own."""
    model = subject.model
    assert model is not None
    if model.candidate_tower is model.query_tower:
        return
    pairs = {}
    for query in subject.features("query"):
        for candidate in subject.features("candidate"):
            same = type(query) is type(candidate) and query.reads_text
            sizes = [getattr(feature, "cardinality", None) for feature in (query, candidate)]
            if same and sizes[0] == sizes[1] and hasattr(query, "num_buckets") and query.name not in pairs:
                pairs[query.name] = candidate.name
    tied = set(model.tied_embeddings) | set(model.tied_embeddings.values())
    free = {query: candidate for query, candidate in pairs.items() if not {query, candidate} & tied}
    if free:
        names = ", ".join(f"{query} and {candidate}" for query, candidate in free.items())
        found = f"{names} hash texts in the same way, into tables of their own"
        change = yaml_line("model.tied_embeddings", free)
        yield Finding("note", "untied-tables", "model.tied_embeddings", found, change)


def _mining(subject: Subject) -> Iterator[Finding]:
    """Hard negatives that are mined after the end of the fit."""
    epochs = subject.max_epochs
    for sampler in subject.data.mined_samplers:
        first = int(getattr(sampler, "warm_up", 0))
        if epochs and first >= epochs:
            found = f"Hard mines from epoch {first} on, and the fit has {epochs}: all negatives are uniform"
            change = yaml_line("data.negatives.init_args.warm_up", 1)
            yield Finding("warning", "hard-negatives", "data.negatives", found, change)
