"""The column of pictures that a bundle shows, and its small pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dssm_lightning.features.image import Image
from dssm_lightning.features.schema import Schema
from dssm_lightning.retrieval.candidate_pictures import CandidatePictures, make_pictures
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.logger import log_info
from dssm_lightning.utils.suggestions import did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from dssm_lightning.data.retrieval_data import RetrievalData

_TYPES = ("Binary", "String", "Null", "Object")


def picture_column(schema: Schema, data: RetrievalData, column: str | None) -> str | None:
    """Return the candidates' column of the pictures that a bundle shows; None if there is none.

    Args:
        schema: the candidate's features.
        data: of the candidates. Their source is read only if the prepared candidates do not have the column.
        column: the column that was asked for; None = that of a feature of pictures, if there is one; "" = none.

    Raises:
        UserError: no such column, or one that holds neither paths nor picture files.
    """
    of_features = [feature.source_column for feature in schema if isinstance(feature, Image)]
    if column is None:
        return of_features[0] if of_features else None
    if column == "" or column in of_features:
        return column or None
    table = _table_with(data, column)
    if column not in table.columns:
        raise UserError(
            f"export: picture is {column!r}, and the candidates have no such column; they have {table.columns}"
            f"{did_you_mean(column, table.columns)}"
        )
    dtype = table.schema[column]
    if str(dtype) not in _TYPES:
        raise UserError(
            f"export: picture is {column!r}, which holds {dtype}; it must hold paths (texts) or the bytes of picture "
            "files"
        )
    return column


def corpus_pictures(schema: Schema, data: RetrievalData, column: str | None) -> CandidatePictures | None:
    """Return the small pictures of all candidates, in their order, and log how many there are.

    Args:
        schema: the candidate's features.
        data: of the candidates.
        column: which :func:`picture_column` returned.
    """
    if column is None:
        return None
    values: Any = _column_of(data, column)
    pictures = make_pictures(schema, column, values)
    log_info(f"pictures of {pictures.count:,} of {len(pictures):,} candidates, from column {column!r}")
    return pictures


def _table_with(data: RetrievalData, column: str) -> pl.DataFrame:
    """Return the prepared candidates, or those of the source if these alone may have the column.

    Prepared candidates have no bytes: what a feature reads of them is encoded.
    """
    if column in data.candidates.columns:
        return data.candidates
    raw = data.recipe.source.tables()
    return raw.interactions if raw.candidates is None else raw.candidates


def _column_of(data: RetrievalData, column: str) -> pl.Series:
    """Return the column (N,) in the order of the prepared candidates."""
    import polars as pl

    table, ids = _table_with(data, column), data.candidates.to_series(0)
    if column in data.candidates.columns:
        return table[column]
    named = [table[ids.name].cast(pl.String).alias("id"), table[column].alias("picture")]
    first = pl.DataFrame(named).unique("id", keep="first", maintain_order=True)
    return pl.DataFrame({"id": ids.cast(pl.String)}).join(first, on="id", how="left", maintain_order="left")["picture"]
