"""Join several text columns into one text for each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dssm_lightning.features.raw_values import plain, shown
from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    import polars as pl


def join_text_columns(table: pl.DataFrame, columns: list[str]) -> list[str]:
    """Join the columns of each row (B,), texts and lists of texts, with blanks; nulls are removed.

    Example:
        >>> import polars as pl
        >>> table = pl.DataFrame({"title": ["Toy Story", None], "genres": [["Animation", "Comedy"], ["Drama"]]})
        >>> join_text_columns(table, ["title", "genres"])
        ['Toy Story Animation Comedy', 'Drama']
    """
    import polars as pl

    texts = [
        pl.col(name).list.join(" ") if isinstance(table.schema[name], pl.List) else pl.col(name).cast(pl.String)
        for name in columns
    ]
    joined = pl.concat_str(texts, separator=" ", ignore_nulls=True)
    return table.select(joined).to_series().to_list()


def join_text_values(records: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> list[str]:
    """Join the values of each record (B,) as :func:`join_text_columns` joins a row; texts do not need Polars.

    A missing column counts as null.

    Raises:
        UserError: a value that is no text, in a column that cannot be made text.

    Example:
        >>> join_text_values([{"title": "Toy Story", "genres": ["Animation", "Comedy"]}, {}], ["title", "genres"])
        ['Toy Story Animation Comedy', '']
    """
    texts = [_texts_of(name, [plain(record.get(name)) for record in records]) for name in columns]
    return [" ".join(text[row] for text in texts if text[row] is not None) for row in range(len(records))]


def _texts_of(name: str, values: list[Any]) -> list[Any]:
    """Return the text of each value (B,) of a column; None for a missing one."""
    if all(value is None or isinstance(value, str) for value in values):
        return values
    if all(value is None or isinstance(value, str) or _is_list_of_texts(value) for value in values):
        return [
            " ".join(entry for entry in value if entry is not None) if isinstance(value, list) else value
            for value in values
        ]
    import polars as pl

    from dssm_lightning.features.value_columns import raw_column

    column = raw_column(values, name)
    if column.dtype == pl.Object or column.dtype.is_nested():
        wrong = next(value for value in values if not (value is None or isinstance(value, str)))
        raise UserError(f"column {name!r}: {shown(wrong)} is no text; give a text, or a list of texts")
    texts: list[str | None] = column.cast(pl.String).to_list()
    return texts


def _is_list_of_texts(value: Any) -> bool:
    return isinstance(value, list) and all(entry is None or isinstance(entry, str) for entry in value)
