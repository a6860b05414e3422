"""What was found in tables: columns, their kinds, and the parts that they play."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dssm_lightning.data.sources.text_layout import TextLayout

Kind = Literal["number", "truth", "time", "category", "categories", "text", "picture", "vector", "constant", "empty"]
"""What the values of a column are. An id is a category; a list of ids is "categories"."""
Role = Literal["interactions", "queries", "candidates"]


@dataclass(frozen=True, kw_only=True)
class ColumnProfile:
    """One column of a table.

    Example:
        >>> ColumnProfile(name="title", kind="text", rows=10, missing=1, distinct=9, examples=["Heat"]).share_missing
        0.1
    """

    name: str
    """As the config names it."""
    kind: Kind
    rows: int
    """Rows of the table."""
    missing: int = 0
    """Rows without a value, or with an empty text."""
    distinct: int = 0
    """Distinct values."""
    examples: Sequence[str] = ()
    """A few values, shortened."""
    least: float | None = None
    """The smallest number; of times: seconds since 1970."""
    greatest: float | None = None
    """The greatest number; of times: seconds since 1970."""
    is_whole: bool = False
    """Whether all numbers are whole."""
    separator: str | None = None
    """The text between the entries of "categories" that are written as text; None = a list."""
    time_format: str | None = None
    """How a time is written, by the codes of ``strftime``; None = a number or ISO 8601."""
    language: str | None = None
    """The script or language of a text, such as "Latin" or "Han"."""
    mean_words: float = 0.0
    """Words of a text, or entries of a list, on average."""
    longest: int = 0
    """The most words of a text, entries of a list, or numbers of a vector."""
    unreadable: int = 0
    """Pictures that are not there or cannot be decoded, of those that were tried."""
    root: str | None = None
    """The folder of pictures that are named by a path."""
    of: Literal["query", "candidate", "event"] = "event"
    """A column of the interactions that has one value for each query, or else for each candidate, belongs to it, as in
    a flat table; any other column varies by event."""

    @property
    def share_missing(self) -> float:
        """The share of rows without a value."""
        return self.missing / self.rows if self.rows else 0.0


@dataclass(frozen=True, kw_only=True)
class TableProfile:
    """One table.

    Example:
        >>> TableProfile(role="candidates", path="films.csv", rows=3, columns={}).layout.separator is None
        True
    """

    role: Role
    path: str | None
    """The file, as it was given; None = a frame."""
    rows: int
    columns: Mapping[str, ColumnProfile]
    """By name, in the order of the file."""
    layout: TextLayout = field(default_factory=TextLayout)
    """How a text file is written, where it differs from what its ending says."""
    notes: Sequence[str] = ()
    """What a person should know, such as blank or repeated rows."""


@dataclass(frozen=True, kw_only=True)
class Feedback:
    """How the interactions say what was liked.

    Example:
        >>> Feedback(kind="ratings", column="stars", positive="stars >= 4", share_liked=0.55).positive
        'stars >= 4'
    """

    kind: Literal["likes", "labels", "ratings", "events", "grades"]
    """likes: every row is one. labels: 1 and 0. ratings: a scale. events: names such as view and purchase. grades: how
    good each liked candidate is."""
    column: str | None = None
    positive: str | None = None
    """The comparison for `Files(positive=…)`; None = not needed."""
    share_liked: float = 1.0
    """The share of rows that count as liked."""
    note: str = ""
    """What a person should check."""


@dataclass(frozen=True, kw_only=True)
class DataProfile:
    """All that was found, and the parts that columns play.

    Example:
        >>> table = TableProfile(role="interactions", path="likes.csv", rows=3, columns={})
        >>> found = DataProfile(interactions=table, query_id="user", candidate_id="film", num_candidates=3)
        >>> found.queries is None, found.feedback.kind
        (True, 'likes')
    """

    interactions: TableProfile
    queries: TableProfile | None = None
    candidates: TableProfile | None = None
    query_id: str
    """The column of the query's id, after ``rename``. In raw texts without ids: the query's text itself."""
    candidate_id: str
    """The column of the candidate's id, after ``rename``."""
    rename: Mapping[str, str] = field(default_factory=dict)
    """For `Files(rename=…)`: where a key has two names."""
    dtypes: Mapping[str, str] = field(default_factory=dict)
    """For `Files(dtypes=…)`: ids of different types, and lists, vectors or pictures that are written as text."""
    missing: Sequence[str] = ()
    """For `Files(missing=…)`: texts that stand for a missing value."""
    drop: Sequence[str] = ()
    """For `Files(drop=…)`: rows that cannot be used."""
    published_fold: str | None = None
    """A column for `PublishedFold`."""
    time: str | None = None
    """The column of the event's time."""
    weight: str | None = None
    feedback: Feedback = field(default_factory=lambda: Feedback(kind="likes"))
    num_queries: int = 0
    """Distinct queries of liked pairs."""
    num_candidates: int = 0
    """Candidates of the corpus."""
    num_liked_candidates: int = 0
    """Candidates that occur in liked pairs."""
    num_pairs: int = 0
    """Distinct liked pairs."""
    num_negative_pairs: int = 0
    """Pairs that were shown and not liked."""
    pairs_per_query: float = 0.0
    """Liked pairs of a query, the median."""
    share_repeated_queries: float = 0.0
    """The share of queries that have two liked pairs or more."""
    share_shared_texts: float = 0.0
    """The share of query texts of which a word also occurs in the text of the liked candidate."""
    notes: Sequence[str] = ()
    """What a person should know."""

    @property
    def tables(self) -> list[TableProfile]:
        """The tables that there are."""
        return [table for table in (self.interactions, self.queries, self.candidates) if table is not None]
