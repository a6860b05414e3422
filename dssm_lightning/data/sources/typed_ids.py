"""Ids of text files, as integers where all are written as integers."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl


def typed_ids(frames: dict[str, pl.DataFrame], key: str, written: Collection[str]) -> dict[str, pl.DataFrame]:
    """Convert ids from text to integers if all ids of the text files are written as integers.

    Args:
        frames: the tables.
        key: the column of ids.
        written: the tables whose columns are text as written.

    Example:
        >>> likes, films = pl.DataFrame({"film": ["7", "12"]}), pl.DataFrame({"film": ["007", "12"]})
        >>> typed_ids({"interactions": likes}, "film", ["interactions"])["interactions"]["film"].to_list()
        [7, 12]
        >>> both = {"interactions": likes, "candidates": films}
        >>> typed_ids(both, "film", ["interactions", "candidates"])["interactions"]["film"].to_list()
        ['7', '12']
    """
    text = [role for role, frame in frames.items() if key in frame.columns and role in written]
    typed = [frame.schema[key] for role, frame in frames.items() if key in frame.columns and role not in text]
    as_integer = pl.col(key).cast(pl.Int64, strict=False)
    written_as_integers = all(
        frames[role].select(as_integer.cast(pl.String).eq_missing(pl.col(key)).all()).item() for role in text
    )
    if pl.String in typed or not written_as_integers:
        return frames
    return {r: f.with_columns(pl.col(key).cast(pl.Int64)) if r in text else f for r, f in frames.items()}
