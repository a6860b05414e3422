"""Flat inputs of an exported program: columns as named tensors, and example columns to trace a program with."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from dssm_lightning.features import BagOfWordsRandomProjection, Feature, History, Image, Numeric, Vector
from dssm_lightning.features.base import has_ids, table_rows
from dssm_lightning.features.categorical import Categorical
from dssm_lightning.features.numeric import Bucketized
from dssm_lightning.features.schema import Schema
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Features, Ragged


def unflatten(template: Features, tensors: Iterable[Tensor]) -> Features:
    """Return the columns of which ``tensors`` are the parts, in the order of
    :func:`~dssm_lightning.retrieval.bundle.programs.flatten`.

    Args:
        template: columns of the same form.
        tensors: the values of ``flatten(columns)``.
    """
    remaining = iter(tensors)

    def column_like(column: Column) -> Column:
        if isinstance(column, Tensor):
            return next(remaining)
        assert isinstance(column, Ragged)
        values, offsets = next(remaining), next(remaining)
        age = None if column.age is None else next(remaining)
        items = next(remaining) if isinstance(column.items, Tensor) else column.items
        return Ragged(values, offsets, age, columns_like(items) if isinstance(items, dict) else items)

    def columns_like(columns: Features) -> Features:
        return {name: column_like(column) for name, column in columns.items()}

    return columns_like(template)


def example_columns(schema: Schema, candidate: Schema, lengths: tuple[int, ...] = (3, 0, 2)) -> Features:
    """Return small columns of the form that the features encode: of the right types and shapes, without meaning.

    Args:
        schema: the features.
        candidate: the features of the candidates, of which histories of whole candidates consist.
        lengths: number of values in each row of a ragged column; as many rows as lengths.

    Raises:
        UserError: a feature of a class that the package does not know encodes no example.

    Example:
        >>> from dssm_lightning.features import Categorical, HashedWords
        >>> schema = Schema((Categorical(name="city", vocabulary=("Bonn",)), HashedWords(name="title", num_buckets=9)))
        >>> columns = example_columns(schema, schema)
        >>> columns["city"].dtype, columns["title"].lengths.tolist()
        (torch.int32, [3, 0, 2])
    """
    return {feature.name: _example(feature, candidate, torch.tensor(lengths)) for feature in schema}


def _example(feature: Feature, candidate: Schema, lengths: Tensor) -> Column:
    rows = len(lengths)
    if isinstance(feature, Numeric | Vector | BagOfWordsRandomProjection):
        return torch.linspace(-1, 1, rows * feature.width).reshape(rows, feature.width)
    if isinstance(feature, Image):
        pixels = torch.arange(rows * feature.channels * feature.size**2) % 251
        return pixels.to(torch.uint8).reshape(rows, feature.channels, feature.size, feature.size)
    if isinstance(feature, History) and feature.of_candidates:
        entries = _ids(lengths, 2, torch.int64)
        return entries._replace(age=entries.values + 1.0, items=example_columns(candidate, candidate, (2, 1, 0, 4)))
    if not has_ids(feature):
        raise UserError(
            f"export: {type(feature).__name__} feature {feature.name!r} is of a class that is not the package's; give "
            "encoded columns of both sides as `examples`"
        )
    cardinality = table_rows(feature)
    if isinstance(feature, Categorical | Bucketized):
        return (torch.arange(rows) % cardinality).to(torch.int32)
    entries = _ids(lengths, cardinality, torch.int32)
    return entries._replace(age=entries.values + 1.0) if isinstance(feature, History) else entries


def _ids(lengths: Tensor, cardinality: int, dtype: torch.dtype) -> Ragged:
    """Ids that count down to 0 in each row: 0 ends a word of WordTrigrams."""
    values = [min(place, cardinality - 1) for length in lengths.tolist() for place in range(length - 1, -1, -1)]
    return Ragged.from_lengths(torch.tensor(values, dtype=dtype), lengths)
