"""Rows that are left out on request: without a value that they need, without a partner in the other table, repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from dssm_lightning.utils.logger import log_info

DROPPED = ("missing", "repeated", "unknown")
"""What ``drop`` of :class:`Files` can name."""


def without_values(frames: dict[str, pl.DataFrame], missing: Sequence[str]) -> dict[str, pl.DataFrame]:
    """Return the tables with null in place of each text that stands for a missing value.

    Example:
        >>> without_values({"queries": pl.DataFrame({"age": ["7", "NA"]})}, ["NA"])["queries"]["age"].to_list()
        ['7', None]
    """
    if not missing:
        return frames
    text = pl.col(pl.String)
    value = pl.when(~text.str.strip_chars().is_in(list(missing))).then(text)
    return {role: frame.with_columns(value) for role, frame in frames.items()}


def drop_missing(frames: dict[str, pl.DataFrame], needed: Mapping[str, Sequence[str]]) -> dict[str, pl.DataFrame]:
    """Leave out rows in which a column that must have a value has none, or an empty text.

    Args:
        frames: the tables.
        needed: the columns of each table. A column that a table lacks is ignored.

    Example:
        >>> likes = pl.DataFrame({"user": [1, None], "film": ["Heat", "Up"]})
        >>> drop_missing({"interactions": likes}, {"interactions": ["user", "film"]})["interactions"].rows()
        [(1, 'Heat')]
    """
    found = {}
    for role, frame in frames.items():
        names = [name for name in dict.fromkeys(needed[role]) if name in frame.columns]
        kept = frame.filter(pl.all_horizontal(_is_there(frame, name) for name in names)) if names else frame
        _log(role, frame, kept, f"without a value of {', '.join(names)}")
        found[role] = kept
    return found


def _is_there(frame: pl.DataFrame, name: str) -> pl.Expr:
    column = pl.col(name)
    if frame.schema[name] == pl.String:
        return (column.str.strip_chars() != "").fill_null(False)
    if frame.schema[name].is_float():
        return column.is_not_nan().fill_null(False)
    return column.is_not_null()


def drop_repeated(frames: dict[str, pl.DataFrame], keys: Mapping[str, str]) -> dict[str, pl.DataFrame]:
    """Keep the first row of each id in the tables of queries and candidates; ``keys`` names their id columns."""
    found = dict(frames)
    for role, key in keys.items():
        if role in frames and key in frames[role].columns:
            found[role] = frames[role].unique(key, keep="first", maintain_order=True)
            _log(role, frames[role], found[role], f"whose {key} another row has already")
    return found


def drop_unknown(frames: dict[str, pl.DataFrame], keys: Mapping[str, str]) -> dict[str, pl.DataFrame]:
    """Leave out interactions whose id the table of queries or candidates does not have.

    Example:
        >>> likes, films = pl.DataFrame({"film": [1, 2]}), pl.DataFrame({"film": ["2"]})
        >>> drop_unknown({"interactions": likes, "candidates": films}, {"candidates": "film"})["interactions"].rows()
        [(2,)]
    """
    interactions = frames["interactions"]
    for role, key in keys.items():
        if role not in frames or key not in interactions.columns or key not in frames[role].columns:
            continue
        known = frames[role].select(pl.col(key).cast(pl.String)).unique()
        kept = interactions.join(known, left_on=pl.col(key).cast(pl.String), right_on=key, how="semi")
        _log("interactions", interactions, kept, f"whose {key} {role} does not have")
        interactions = kept
    return frames | {"interactions": interactions}


def _log(role: str, before: pl.DataFrame, after: pl.DataFrame, what: str) -> None:
    if count := len(before) - len(after):
        log_info(f"{role}: {count:,} of {len(before):,} rows {what} are left out")
