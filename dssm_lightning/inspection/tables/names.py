"""New names of columns where a key has two, and the types of ids that differ between tables."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from dssm_lightning.data.sources.file_formats import DELIMITED
from dssm_lightning.inspection.tables.keys import Key, ids_of
from dssm_lightning.inspection.tables.loading import Table


def new_names(events: Table, tables: Mapping[str, Table], keys: Mapping[str, Key]) -> dict[str, str]:
    """Return new names for `Files(rename=…)`: the interactions' name of a key holds in all tables.

    A column of the interactions that the queries have, too, gets another name: a feature reads one of them.
    """
    found: dict[str, str] = {}
    for role, table in tables.items():
        key = keys[role]
        if key.other is not None and key.other != key.name:
            if key.name in table.columns:
                found[f"{role}.{key.name}"] = _free(f"{key.name}_2", table)
            found[f"{role}.{key.other}"] = key.name
    queries = tables.get("queries")
    if queries is not None:
        after = {found.get(f"queries.{name}", name) for name in queries.columns}
        twice = [name for name in events.columns if name in after and name != keys["queries"].name]
        twice = [name for name in twice if name != keys["candidates"].name]
        found |= {f"interactions.{name}": _free(f"event_{name}", events) for name in twice}
    return found


def _free(name: str, table: Table) -> str:
    while name in table.columns:
        name += "_"
    return name


def id_types(events: Table, tables: Mapping[str, Table], keys: Mapping[str, Key]) -> dict[str, str]:
    """Return types for `Files(dtypes=…)`: one type for ids that are numbers in one table and text in another.

    Example:
        >>> from dssm_lightning.inspection.tables.loading import table_of_frame
        >>> events = table_of_frame(pl.DataFrame({"user": [1, 2], "film": ["7", "8"]}), "interactions")
        >>> films = table_of_frame(pl.DataFrame({"film": [7, 8]}), "candidates")
        >>> id_types(events, {"candidates": films}, {"candidates": Key("film", "film")})
        {'film': 'text'}
    """
    found = {}
    for role, key in keys.items():
        columns = [(events.frame[key.name], events.kind in DELIMITED)]
        if role in tables and key.other is not None:
            columns.append((tables[role].frame[key.other], tables[role].kind in DELIMITED))
        if kind := _type(columns):
            found[key.name] = kind
    return found


def _type(columns: list[tuple[pl.Series, bool]]) -> str | None:
    whole = all(bool(ids_of(ids).drop_nulls().str.contains(r"^-?(0|[1-9]\d{0,17})$").all()) for ids, _ in columns)
    fractions = any(
        ids.dtype.is_float() or (ids.dtype == pl.String and bool(ids.str.contains(r"^\s*-?\d+\.0+\s*$").any()))
        for ids, _ in columns
    )
    if fractions and whole:
        return "integer"
    text = [ids.dtype in (pl.String, pl.Categorical, pl.Enum) for ids, _ in columns]
    if all(text) or not any(text):
        return None
    written = all(is_written for (_, is_written), is_text in zip(columns, text, strict=True) if is_text)
    return None if written and whole else "text"
