"""New names and declared types of the columns of tables."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources.value_types import typed
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean


def renamed(frames: dict[str, pl.DataFrame], names: dict[str, str]) -> dict[str, pl.DataFrame]:
    """Return the tables with other names of columns; ``queries.id`` is the column ``id`` of the queries.

    Raises:
        UserError: no such column; a new name that another column of the table has.
    """
    found: dict[str, dict[str, str]] = {role: {} for role in frames}
    for old, new in names.items():
        table, _, column = old.partition(".")
        places = {role: old for role, frame in frames.items() if old in frame.columns}
        if not places and table in frames and column in frames[table].columns:
            places = {table: column}
        if not places:
            known = [name for frame in frames.values() for name in frame.columns]
            raise UserError(
                f"Files: rename names {old!r}, which is no column; the tables have {', '.join(dict.fromkeys(known))}"
                f"{did_you_mean(old, known)}"
            )
        for role, own in places.items():
            found[role][own] = new
    for role, frame in frames.items():
        after = [found[role].get(name, name) for name in frame.columns]
        twice = [name for name in after if after.count(name) > 1]
        if twice:
            raise UserError(f"Files: rename gives {role} two columns {twice[0]!r}; choose another name, or rename both")
    return {role: frame.rename(found[role]) for role, frame in frames.items()}


def with_types(frames: dict[str, pl.DataFrame], dtypes: dict[str, str]) -> dict[str, pl.DataFrame]:
    """Return the tables with columns of the declared types.

    Raises:
        UserError: no such column; a value that is not of its declared type.
    """
    known = [name for frame in frames.values() for name in frame.columns]
    for name in dtypes:
        if name not in known:
            raise UserError(
                f"Files: dtypes names {name!r}, which is no column; the tables have {', '.join(dict.fromkeys(known))}"
                f"{did_you_mean(name, known)}"
            )
    return {
        role: frame.with_columns(
            typed(frame[name], kind, f"{role}: column {name!r}")
            for name, kind in dtypes.items()
            if name in frame.columns
        )
        for role, frame in frames.items()
    }
