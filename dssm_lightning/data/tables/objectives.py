"""Several objectives of one interaction table: which rows are positives of each, as columns of 1 and 0."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace

import polars as pl

from dssm_lightning.data.sources.positive_rows import PositiveRows
from dssm_lightning.data.sources.value_types import as_numbers
from dssm_lightning.data.tables import checks
from dssm_lightning.data.tables.tables import RawTables, Tables
from dssm_lightning.utils.errors import UserError

LIKED = "any objective"
"""Column of the label of a row: 1 if the row is a positive of any objective."""
NOT_FREE = ("cold_queries", "cold_candidates", "head", "middle", "tail", "seen_kept", "index", "val", "test", "train")
"""Names that metrics have already."""
_NAME = re.compile(r"(?!with_|without_|width_)\w[\w.-]*")


def column_of(objective: str) -> str:
    """Return the column with 1 for the positives of an objective and 0 for the other rows."""
    return f"objective {objective}"


def check_objectives(
    objectives: Mapping[str, str | None] | None, evaluate: str = "query"
) -> tuple[tuple[str, str | None], ...]:
    """Return names and rules; refuse names that no metric can have, and rules that are no text.

    Args:
        objectives: by name a column, a comparison or None.
        evaluate: "listed" needs rows that were shown and not liked, which an objective of every row leaves none of.

    Raises:
        UserError: such a name or rule; an objective of every row with ``evaluate: listed``.

    Example:
        >>> check_objectives({"click": "clicked", "buy": "event == purchase", "seen": None})[0]
        ('click', 'clicked')
    """
    for name, rule in (objectives or {}).items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name in NOT_FREE:
            raise UserError(
                f"data: an objective of objectives is named {name!r}; its metrics are named after it, such as "
                "'click/ndcg@10': take letters, digits, '_', '-' and '.', and no name of a slice, such as 'head'"
            )
        if rule is not None and not (isinstance(rule, str) and rule.strip()):
            raise UserError(
                f"data: objective {name!r} of objectives is {rule!r}; it must be a column of 1 and 0, a comparison "
                "such as 'event == purchase', or null for every row"
            )
        if rule is None and evaluate == "listed":
            raise UserError(
                "data: evaluate: listed ranks the candidates that each query was shown, liked or not, but objective "
                f"{name!r} of objectives is null: every row is a positive of it, so that none was shown and not liked; "
                "give it a rule, leave it out, or set evaluate: query"
            )
    return tuple((objectives or {}).items())


def with_objectives(raw: RawTables, objectives: Mapping[str, str | None], query_columns: Collection[str]) -> RawTables:
    """Return the tables with a column for each objective, and the label of a row: whether it has any of them.

    Args:
        raw: the tables of a source.
        objectives: by name a column of 1 and 0, a comparison as for ``positive`` of
            :class:`~dssm_lightning.data.sources.Files`, or None: every row is a positive.
        query_columns: columns that features of the query side read.

    Raises:
        UserError: the source names a label as well; a column is missing, has other values, is the same in every row, or
            is read by a query feature; the interactions have a column of the same name.

    Example:
        >>> from dssm_lightning.data.tables.column_roles import ColumnRoles
        >>> log = pl.DataFrame({"user": [1, 1, 2], "item": [7, 8, 7], "clicked": [1, 0, 1], "price": [0, 0, 5]})
        >>> raw = RawTables(log, None, None, ColumnRoles("user", "item"))
        >>> found = with_objectives(raw, {"click": "clicked", "buy": "price > 0"}, query_columns=["user"])
        >>> found.interactions.select("objective click", "objective buy", found.keys.label).rows()
        [(1, 0, 1), (0, 0, 0), (1, 1, 1)]
    """
    if not objectives:
        return raw
    if raw.keys.label is not None:
        raise UserError(
            f"data: objectives names {', '.join(objectives)}, and the source has the label {raw.keys.label!r}: a row "
            "is liked if it is a positive of any objective; leave out the source's `label`, `label_above`, `positive`"
        )
    columns = [_positives(raw.interactions, *each, query_columns) for each in objectives.items()]
    for name in (LIKED, *(column.name for column in columns)):
        if name in raw.interactions.columns:
            raise UserError(
                f"data: interactions has a column {name!r}, the name of a column that objectives add: rename it"
            )
    keys = replace(raw.keys, objectives=tuple(column.name for column in columns))
    if None not in objectives.values():  # else every row is liked, as without a label
        columns.append(pl.DataFrame(columns).max_horizontal().alias(LIKED))
        keys = replace(keys, label=LIKED)
    return replace(raw, interactions=raw.interactions.with_columns(columns), keys=keys)


def shared_by_pairs(tables: Tables, rating: str | None = None, fold: str | None = None) -> Tables:
    """Return the tables in which each row of a repeated pair has the objectives, and a rating, of all rows of the pair.

    So the click and the purchase of one candidate, which are two rows of a log, are both positives when one of the rows
    is left. The rating is that of the row which :func:`~dssm_lightning.data.tables.tables.collapse` would keep of those
    that have one: of a liked row before others, then of the latest, or, without times, of the first. A row that is kept
    thus keeps its own rating, and has that of another row only if it has none, also of a later one: ratings often
    follow the purchase.

    Args:
        tables: with the columns of the objectives.
        rating: column of numbers, null = not rated; None = there is none.
        fold: column that names the folds. Rows of other folds then share nothing: training rows do not learn from a
            purchase of the test.
    """
    keys = tables.keys
    if not keys.objectives and rating is None:
        return tables
    apart = [fold] if fold in tables.interactions.columns else []
    pair = (keys.query_id, keys.candidate_id, *apart)
    shared = [pl.col(name).max().over(pair) for name in keys.objectives]
    if rating is not None:
        order, rated = [name for name in (keys.label, keys.time) if name is not None], pl.col(rating)
        ordered = rated.sort_by(order, descending=True, maintain_order=True) if order else rated
        shared.append(ordered.drop_nulls().first().over(pair))
    return replace(tables, interactions=tables.interactions.with_columns(shared))


def _positives(frame: pl.DataFrame, name: str, rule: str | None, query_columns: Collection[str]) -> pl.Series:
    """Return 1 and 0 for the rows, (R,) Int8."""
    if rule is None:
        return pl.repeat(1, len(frame), dtype=pl.Int8, eager=True).alias(column_of(name))
    if rule in frame.columns or not PositiveRows.is_rule(rule):
        column, found = rule, _labels(frame, name, rule)
    else:
        compared = PositiveRows.parse(rule, f"data: objective {name!r}")
        column, found = compared.column, compared.of(frame)
    if len(found) and found.n_unique() == 1:
        remedy = "write null for an objective of every row" if found[0] else "no row is a positive of it"
        raise UserError(
            f"data: objective {name!r}: {rule!r} is {int(found[0])} in all {len(found):,} interactions; {remedy}"
        )
    if column in query_columns:
        raise UserError(
            f"query feature column {column!r} holds the answer of objective {name!r}; it cannot be a feature of the "
            "query"
        )
    return found.alias(column_of(name))


def _labels(frame: pl.DataFrame, name: str, column: str) -> pl.Series:
    about = f"data: objective {name!r}: column {column!r}"
    checks.columns(frame, "interactions", [column], f"data: objective {name!r}: label column")
    values = as_numbers(frame[column], about, f"; write a comparison, such as '{column} == yes'")
    castable = values.dtype.is_numeric() or values.dtype == pl.Boolean
    wrong = values.filter(~values.cast(pl.Float64).is_in([0.0, 1.0]).fill_null(False)) if castable else values
    if len(wrong):
        raise UserError(f"{about} must hold 1 and 0, found {wrong[0]!r}; write a comparison, such as '{column} >= 1'")
    found: pl.Series = values.cast(pl.Int8)
    return found
