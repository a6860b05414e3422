"""The layers of a model: output shape and parameters of every branch and layer, measured on a few real rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.features import Feature, History, LikedBy
from dssm_lightning.models.two_tower import TwoTowerModel
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
from dssm_lightning.utils.console import cell, show, show_text
from dssm_lightning.utils.ragged import Features, to_device

if TYPE_CHECKING:
    from rich.table import Table


LAYER_WIDTH = 30
"""Columns of a table for the name of a layer: a longer name ends in …, so that the other columns keep their place."""


class Branch(NamedTuple):
    """One feature with its encoder."""

    feature: Feature
    encoder: Layer
    shares: list[str]  # other branches (side.feature) that use one of its parameters
    bypasses: bool  # appended to the embedding, past fusion and layers

    @property
    def reads(self) -> str:
        """The raw column, or the events and the feature that a history is assembled from."""
        feature = self.feature
        if isinstance(feature, LikedBy):
            return f"liked by {feature.of}"
        return f"{feature.events} {feature.of}" if isinstance(feature, History) else feature.source_column


class TowerSummary(NamedTuple):
    """One side of a model."""

    side: str
    branches: list[Branch]
    fusion: Layer
    layers: list[Layer]  # the hidden ones, then the output's
    bias: Layer | None
    normalize: bool
    heads: int  # number of heads, each normalised on its own
    shape: Shape | None  # of the embedding
    parameters: int
    frozen: int


class ModelSummary(NamedTuple):
    """Both towers, scorer and loss. A shared table counts in each tower that uses it, and once in the model."""

    query: TowerSummary
    candidate: TowerSummary
    one_tower: bool  # both sides use the same tower
    scorer: Layer
    loss: Layer
    parameters: int
    frozen: int


# -- describing -------------------------------------------------------------------------------------------------------


def describe(model: TwoTowerModel, loss: nn.Module, data: RetrievalData) -> ModelSummary:
    """Run a few rows of the data through a built model, and describe the output and the parameters of each layer."""
    device = next(model.parameters()).device
    towers = {}
    for side, tower in model.towers.items():
        with torch.inference_mode():
            batches = [model.embed_histories(to_device(each, device)) for each in _batches(data, side)]
        towers[side] = _tower(side, model, output_shapes(tower, batches))
    whole = nn.ModuleList([model, loss])  # a Lightning model holds its loss already, which counts once
    return ModelSummary(
        query=towers["query"],
        candidate=towers["candidate"],
        one_tower=model.candidate_tower is model.query_tower,
        scorer=describe_layer("scorer", model.scorer, {model.scorer: ("Q", "C")}),
        loss=describe_layer("loss", loss, {loss: ("Q",)}),
        parameters=count_parameters(whole),
        frozen=count_parameters(whole, frozen=True),
    )


def _batches(data: RetrievalData, side: str) -> list[Features]:
    total = len(data.data.interactions.query) if side == "query" else data.num_candidates
    rows = [torch.arange(size) % total for size in BATCHES]
    if side == "query":  # as an event, since a query may have columns that vary by event
        return [data.assembler.event_features(each) for each in rows]
    return [data.assembler.candidate_features(each) for each in rows]


def _tower(side: str, model: TwoTowerModel, shapes: dict[nn.Module, Shape | None]) -> TowerSummary:
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


def _users(model: TwoTowerModel) -> dict[nn.Parameter, set[str]]:
    """For each parameter of an encoder the branches that use it."""
    users: dict[nn.Parameter, set[str]] = {}
    for side, tower in model.towers.items():
        for name, encoder in tower.encoders.items():
            for parameter in encoder.parameters():
                users.setdefault(parameter, set()).add(f"{side}.{name}")
    return users


# -- showing ----------------------------------------------------------------------------------------------------------


def show_summary(summary: ModelSummary, depth: int = 2) -> None:
    """Show a table of both towers that fits 80 columns.

    Args:
        summary: the described model.
        depth: number of levels of an encoder's own layers that are shown.
    """
    show(summary_table(summary, depth))
    show_text("B rows of a batch · L varies by batch · Q queries, C candidates of a score")


def summary_table(summary: ModelSummary, depth: int = 2) -> Table:
    """Return the table of :func:`show_summary`: a row for each layer, and notes on rows of their own."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    fixed = [Column(name, justify="right", no_wrap=True) for name in ("output", "parameters")]
    names = Column("layer", no_wrap=True, max_width=LAYER_WIDTH)
    table = Table(names, "kind", *fixed, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for tower in (summary.query, summary.candidate):
        _add_tower(table, tower, depth, summary.one_tower)
        table.add_section()
    for layer in (summary.scorer, summary.loss):
        _add_layer(table, layer, 0, depth)
    table.add_section()
    shared = summary.one_tower or any(branch.shares for branch in summary.query.branches + summary.candidate.branches)
    _add_row(table, "model", "TwoTower", "", summary.parameters, style="bold")
    _add_notes(table, _notes(summary.frozen, summary.parameters, ["shared tables count once"] if shared else []))
    return table


def _add_tower(table: Table, tower: TowerSummary, depth: int, one_tower: bool) -> None:
    same = tower.side == "candidate" and one_tower
    _add_row(table, f"{tower.side} tower", "Tower", format_shape(tower.shape), tower.parameters, style="bold")
    _add_notes(table, _notes(tower.frozen, tower.parameters, ["the same tower as query"] if same else []))
    for branch in tower.branches:
        notes = [] if one_tower or not branch.shares else [f"shared: {', '.join(branch.shares)}"]
        notes += ["bypass"] if branch.bypasses else []
        _add_layer(table, branch.encoder, 1, depth, type(branch.feature).__name__, notes)
    for layer in (tower.fusion, *tower.layers):
        _add_layer(table, layer, 1, depth)
    if tower.normalize:
        kind = "length 1" if tower.heads == 1 else f"length 1, each of {tower.heads} heads"
        _add_row(table, "  normalize", kind, format_shape((tower.layers or [tower.fusion])[-1].shape), 0)
    if tower.bias is not None:
        _add_layer(table, tower.bias, 1, depth)


def _add_layer(
    table: Table, layer: Layer, level: int, depth: int, feature: str | None = None, notes: Sequence[str] = ()
) -> None:
    kind = layer.kind if feature is None else f"{feature} → {layer.kind}"
    style = "dim" if level > 1 else None
    _add_row(table, "  " * level + layer.name, kind, format_shape(layer.shape), layer.parameters, style)
    _add_notes(table, _notes(layer.frozen, layer.parameters, list(notes)))
    for child in layer.layers if level <= depth else []:
        _add_layer(table, child, level + 1, depth)


def _add_row(table: Table, name: str, kind: str, shape: str, parameters: int, style: str | None = None) -> None:
    from rich.text import Text

    table.add_row(Text(cell(name)), Text(cell(kind)), shape, f"{parameters:,}", style=style)


def _add_notes(table: Table, notes: str) -> None:
    from rich.text import Text

    if notes:
        table.add_row("", Text(cell(f"({notes})")), "", "", style="dim")


def _notes(frozen: int, parameters: int, notes: list[str]) -> str:
    if frozen:
        notes = ["frozen" if frozen == parameters else f"{frozen:,} frozen", *notes]
    return " · ".join(notes)
