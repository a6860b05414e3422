"""What a model is made of: output shape and parameters of every branch and layer, found by running a few real rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table
from torch import nn

from dssm_lightning.features import Feature, History, LikedBy
from dssm_lightning.reports.layer_shapes import (
    BATCHES,
    Layer,
    Shape,
    count_parameters,
    describe_blocks,
    describe_layer,
    format_shape,
    output_shapes,
)
from dssm_lightning.utils.ragged import Features, to_device

if TYPE_CHECKING:  # they bring Lightning, which describing does not need
    from dssm_lightning.data.datamodule import RetrievalDataModule
    from dssm_lightning.training.module import TwoTower


class Branch(NamedTuple):
    """One feature with its encoder."""

    feature: Feature
    encoder: Layer
    shares: list[str]  # other branches (side.feature) that use one of its parameters
    bypasses: bool  # appended to the embedding, past fusion and layers

    @property
    def reads(self) -> str:
        """The raw column, or what a history is assembled from."""
        feature = self.feature
        if isinstance(feature, LikedBy):
            return f"liked by {feature.of}"
        return f"{feature.events} {feature.of}" if isinstance(feature, History) else feature.source_column


class TowerSummary(NamedTuple):
    """One side."""

    side: str
    branches: list[Branch]
    fusion: Layer
    layers: list[Layer]  # the hidden ones, then the output's
    bias: Layer | None
    normalize: bool
    heads: int  # that are normalised, each for itself
    shape: Shape | None  # of the embedding
    parameters: int
    frozen: int


class ModelSummary(NamedTuple):
    """Both towers and where they meet. What is shared counts in each tower that uses it, and once in the model."""

    query: TowerSummary
    candidate: TowerSummary
    one_tower: bool  # both sides go through the same one
    scorer: Layer
    loss: Layer
    parameters: int
    frozen: int


# -- describing -------------------------------------------------------------------------------------------------------


def describe(model: TwoTower, data: RetrievalDataModule) -> ModelSummary:
    """Run a few rows of the data through a built model, and tell what its layers gave and hold."""
    towers = {}
    for side, tower in model.towers.items():
        with torch.inference_mode():
            batches = [model.embed_histories(to_device(each, model.device)) for each in _batches(data, side)]
        towers[side] = _tower(side, model, output_shapes(tower, batches))
    return ModelSummary(
        query=towers["query"],
        candidate=towers["candidate"],
        one_tower=model.candidate_tower is model.query_tower,
        scorer=describe_layer("scorer", model.scorer, {model.scorer: ("Q", "C")}),
        loss=describe_layer("loss", model.loss, {model.loss: ("Q",)}),
        parameters=count_parameters(model),
        frozen=count_parameters(model, frozen=True),
    )


def _batches(data: RetrievalDataModule, side: str) -> list[Features]:
    total = len(data.data.interactions.query) if side == "query" else data.num_candidates
    rows = [torch.arange(size) % total for size in BATCHES]
    if side == "query":  # as an event, since a query may have columns that vary by event
        return [data.assembler.event_features(each) for each in rows]
    return [data.assembler.candidate_features(each) for each in rows]


def _tower(side: str, model: TwoTower, shapes: dict[nn.Module, Shape | None]) -> TowerSummary:
    assert model.schemas is not None
    tower, schema = model.towers[side], getattr(model.schemas, side)
    users = _users(model)
    branches = []
    for name, encoder in tower.encoders.items():
        others = {user for parameter in encoder.parameters() for user in users[parameter]} - {f"{side}.{name}"}
        layer = describe_layer(name, encoder, shapes)
        branches.append(Branch(schema[name], layer, sorted(others), name in tower.bypass))
    return TowerSummary(
        side=side,
        branches=branches,
        fusion=describe_layer("fusion", tower.fusion, shapes),
        layers=[
            *describe_blocks("hidden", tower.hidden, shapes, numbered=True),
            *describe_blocks("output", tower.output, shapes, numbered=False),
        ],
        bias=None if tower.bias is None else describe_layer("bias", tower.bias, shapes),
        normalize=tower.normalize,
        heads=tower.num_heads,
        shape=shapes[tower],
        parameters=count_parameters(tower),
        frozen=count_parameters(tower, frozen=True),
    )


def _users(model: TwoTower) -> dict[nn.Parameter, set[str]]:
    """For each parameter of an encoder the branches that use it."""
    users: dict[nn.Parameter, set[str]] = {}
    for side, tower in model.towers.items():
        for name, encoder in tower.encoders.items():
            for parameter in encoder.parameters():
                users.setdefault(parameter, set()).add(f"{side}.{name}")
    return users


# -- printing ---------------------------------------------------------------------------------------------------------


def print_summary(summary: ModelSummary, depth: int = 2, console: Console | None = None) -> None:
    """Print a table of both towers.

    Args:
        summary: what to print.
        depth: how many levels of an encoder's own layers to show.
        console: where to; standard output by default.
    """
    parameters = Column("parameters", justify="right", no_wrap=True)
    table = Table(Column("layer", no_wrap=True), Column("kind", overflow="fold"), "output", parameters, "")
    for tower in (summary.query, summary.candidate):
        same = tower.side == "candidate" and summary.one_tower
        note = _notes(tower.frozen, tower.parameters, ["query, the same tower"] if same else [])
        table.add_row(f"[bold]{tower.side} tower", "Tower", format_shape(tower.shape), f"{tower.parameters:,}", note)
        for branch in tower.branches:
            notes = [] if summary.one_tower or not branch.shares else [f"shared: {', '.join(branch.shares)}"]
            notes += ["bypass"] if branch.bypasses else []
            _add_rows(table, branch.encoder, 1, depth, type(branch.feature).__name__, notes)
        for layer in (tower.fusion, *tower.layers):
            _add_rows(table, layer, 1, depth)
        if tower.normalize:
            kind = "length 1" if tower.heads == 1 else f"length 1, each of {tower.heads} heads"
            table.add_row("  normalize", kind, format_shape((tower.layers or [tower.fusion])[-1].shape), "0", "")
        if tower.bias is not None:
            _add_rows(table, tower.bias, 1, depth)
        table.add_section()
    for layer in (summary.scorer, summary.loss):
        _add_rows(table, layer, 0, depth)
    table.add_section()
    shared = summary.one_tower or any(branch.shares for branch in summary.query.branches + summary.candidate.branches)
    note = _notes(summary.frozen, summary.parameters, ["shared tables count once"] if shared else [])
    table.add_row("[bold]model", "TwoTower", "", f"[bold]{summary.parameters:,}", note)
    console = console or Console()
    console.print(table)
    console.print("B rows of a batch · L what varies from batch to batch · Q queries and C candidates that are scored")


def _add_rows(
    table: Table, layer: Layer, level: int, depth: int, feature: str | None = None, notes: Sequence[str] = ()
) -> None:
    kind = layer.kind if feature is None else f"{feature} → {layer.kind}"
    style = "dim" if level > 1 else None
    note = _notes(layer.frozen, layer.parameters, list(notes))
    name = f"{'  ' * level}{layer.name}"
    table.add_row(escape(name), escape(kind), format_shape(layer.shape), f"{layer.parameters:,}", note, style=style)
    for child in layer.layers if level <= depth else []:
        _add_rows(table, child, level + 1, depth)


def _notes(frozen: int, parameters: int, notes: list[str]) -> str:
    if frozen:
        notes = ["frozen" if frozen == parameters else f"{frozen:,} frozen", *notes]
    return " · ".join(notes)
