"""What the checks look at: the settings, the raw and the prepared data, and the untrained model of a config."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.data.interactions import TEST, TRAIN, VALIDATION, Interactions
from dssm_lightning.data.preparation.cache import Prepared
from dssm_lightning.data.preparation.prepare import kept_rows
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.tables.tables import RawTables, Tables
from dssm_lightning.features import Feature, History, LikedBy
from dssm_lightning.inspection.doctor.settings import Sections, setting

if TYPE_CHECKING:
    from dssm_lightning.training.module import TwoTower

MOST_ROWS = 200_000
"""Rows that a check of texts or values looks at."""
SIDES = ("query", "candidate")

IntArray = NDArray[np.int64]


@dataclass
class Subject:
    """A config with its data and its untrained model; tables are read when a check first asks for them.

    Args:
        sections: the config as plain values.
        data: the data; they are encoded into the cache that ``fit`` uses.
        model: built for the data; None = it could not be built.
        batches: training batches that are looked at and trained on.
    """

    sections: Sections
    data: RetrievalData
    model: TwoTower | None = None
    batches: int = 8

    # -- data ---------------------------------------------------------------------------------------------------------

    @cached_property
    def raw(self) -> RawTables:
        """The tables as the source has them, with repeated pairs, and with the columns of the objectives."""
        return self.data.recipe.tables()

    @cached_property
    def tables(self) -> Tables:
        """The complete tables; row i of the interactions is row i of the prepared ones."""
        sides = [
            [feature.source_column for feature in schema if not isinstance(feature, History | LikedBy)]
            for schema in (self.data.recipe.query, self.data.recipe.candidate)
        ]
        return kept_rows(self.raw.resolve(*sides), self.data.recipe.split, self.data.recipe.rating)[0]

    @property
    def prepared(self) -> Prepared:
        """The encoded data."""
        return self.data.data

    @property
    def interactions(self) -> Interactions:
        """The events, as rows of the query table and of the corpus."""
        return self.prepared.interactions

    @cached_property
    def rows(self) -> dict[int, IntArray]:
        """The liked rows of each fold, ascending."""
        return {fold: self.interactions.rows(fold, label=1).numpy() for fold in (TRAIN, VALIDATION, TEST)}

    @cached_property
    def held_out(self) -> IntArray:
        """The liked validation rows; without them the liked test rows."""
        return self.rows[VALIDATION] if len(self.rows[VALIDATION]) else self.rows[TEST]

    @property
    def held_out_name(self) -> str:
        """The name of the fold of :attr:`held_out`."""
        return "validation" if len(self.rows[VALIDATION]) else "test"

    @cached_property
    def query(self) -> IntArray:
        """(R,) the row of the query table of each event."""
        return self.interactions.query.numpy()

    @cached_property
    def candidate(self) -> IntArray:
        """(R,) the row of the corpus of each event."""
        return self.interactions.candidate.numpy()

    @cached_property
    def training_rows(self) -> int:
        """Rows of an epoch."""
        return len(self.data.assembler.rows)

    # -- columns ------------------------------------------------------------------------------------------------------

    def features(self, side: str) -> list[Feature]:
        """Return the fitted features of a side that read a column."""
        schema = getattr(self.prepared.schemas, side)
        return [feature for feature in schema if not isinstance(feature, History | LikedBy)]

    def assembled(self, side: str) -> list[Feature]:
        """Return the histories of the queries, or the ``LikedBy`` features of the candidates."""
        return [f for f in getattr(self.prepared.schemas, side) if isinstance(f, History | LikedBy)]

    def is_event(self, side: str, feature: Feature) -> bool:
        """Return whether a query feature varies by event."""
        return side == "query" and feature.name in self.prepared.event

    def table(self, side: str, feature: Feature) -> pl.DataFrame:
        """Return the table that a feature reads."""
        if self.is_event(side, feature):
            return self.tables.interactions
        return self.tables.queries if side == "query" else self.tables.candidates

    def column(self, side: str, feature: Feature) -> pl.Series:
        """Return the raw column that a feature reads: one value for each query, candidate or event."""
        return self.table(side, feature)[feature.source_column]

    def places(self, side: str, feature: Feature, rows: IntArray) -> IntArray:
        """Return the rows of a feature's column that belong to events."""
        if side == "candidate":
            return self.candidate[rows]
        return rows if self.is_event(side, feature) else self.query[rows]

    @cached_property
    def texts(self) -> dict[str, IntArray]:
        """For each side with text features, a number (n,) for the text of each row, equal for equal texts."""
        found = {}
        for side in SIDES:
            table = self.tables.queries if side == "query" else self.tables.candidates
            columns = getattr(self.prepared.schemas, side).text_columns
            if columns and all(table.schema.get(name) == pl.String for name in columns):
                found[side] = same_texts(table.select(columns))
        return found

    @cached_property
    def descriptions(self) -> IntArray:
        """A number (n,) for each query, equal where all columns that features read are equal; an id is left out, unless
        it is the text itself."""
        table, texts = self.tables.queries, self.prepared.schemas.query.text_columns
        ids = {self.tables.keys.query_id} - set(texts)
        names = {feature.source_column for feature in self.features("query")} - ids
        plain = [name for name in table.columns if name in names and _is_plain(table.schema[name])]
        return same_texts(table.select(plain)) if plain else np.arange(len(table))

    # -- settings -----------------------------------------------------------------------------------------------------

    @property
    def split(self) -> str:
        """The class of the split."""
        return type(self.data.recipe.split).__name__

    @cached_property
    def split_arguments(self) -> dict[str, Any]:
        """The arguments of the split that say how much is held out."""
        own = vars(self.data.recipe.split)
        return {name: own[name] for name in ("test", "validation") if isinstance(own.get(name), int | float)}

    def setting(self, path: str, default: Any = None) -> Any:
        """Return a setting of the config by its keys, joined by dots."""
        return setting(self.sections, path, default)

    @property
    def max_epochs(self) -> int:
        """Epochs of the fit, as Lightning's trainer counts them; 0 = no limit."""
        found = self.setting("trainer.max_epochs", 1000)
        return found if isinstance(found, int) and found > 0 else 0


def _is_plain(dtype: pl.DataType) -> bool:
    return not (dtype.is_nested() or dtype in (pl.Object, pl.Binary))


def same_texts(table: pl.DataFrame) -> IntArray:
    """Return a number (n,) for each row, equal where all texts are equal but for case and blanks; "" equals nothing.

    Example:
        >>> same_texts(pl.DataFrame({"text": ["Red  shoes", "red shoes", "boots", None, None]})).tolist()
        [0, 0, 1, 2, 3]
    """
    folded = table.select(
        pl.col(name).cast(pl.String).fill_null("").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
        for name in table.columns
    )
    keys = folded.select(key=pl.struct(pl.all()), empty=pl.all_horizontal(pl.all() == "")).with_row_index("row")
    first = pl.when("empty").then(pl.col("row")).otherwise(pl.col("row").first().over("key", "empty"))
    found: IntArray = keys.select(first).to_series().rank("dense").to_numpy().astype(np.int64) - 1
    return found


def sample(rows: IntArray, most: int = MOST_ROWS) -> IntArray:
    """Return at most ``most`` rows, at equal steps.

    Example:
        >>> sample(np.arange(10), 4).tolist()
        [0, 2, 5, 7]
    """
    if len(rows) <= most:
        return rows
    return rows[(np.arange(most) * (len(rows) / most)).astype(np.int64)]
