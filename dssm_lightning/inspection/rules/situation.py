"""The facts that rules ask for: which columns belong to which side, and how many rows will be there to learn from."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from dssm_lightning.inspection.profile import ColumnProfile, DataProfile, TableProfile
from dssm_lightning.inspection.rules.decisions import Side
from dssm_lightning.utils.errors import UserError

Task = Literal["search", "recommend", "rerank"]
FEW_EVENTS_OF_A_QUERY = 3
"""Queries with at least this many liked pairs, in the median, have a history to learn from."""
SHARE_OF_RETURNING = 0.3
"""Or this share of queries with two liked pairs or more."""
OWN_TEXTS = 0.2
"""If this share of query texts shares words with the liked candidate's text, the text is what is searched for."""


@dataclass(frozen=True)
class Situation:
    """A profile, and what follows from it for all rules.

    Example:
        >>> table = TableProfile(role="interactions", path="likes.csv", rows=3, columns={})
        >>> found = DataProfile(interactions=table, query_id="user", candidate_id="film", num_pairs=3, num_queries=3)
        >>> Situation(found).task
        'recommend'
    """

    profile: DataProfile
    asked_task: Task | None = None
    """The task that the user named; None = it follows from the data."""

    def columns(self, side: Side) -> list[tuple[TableProfile, ColumnProfile]]:
        """Return the columns that describe a side, with their tables: those of its own table, and of a flat table."""
        profile, key = self.profile, self._key(side)
        own = profile.queries if side == "query" else profile.candidates
        found = [] if own is None else [(own, column) for column in own.columns.values()]
        names = {column.name for _, column in found}
        for column in profile.interactions.columns.values():
            if (own is None and column.of == side) or column.name == key:
                found += [] if column.name in names else [(profile.interactions, column)]
        described = [(table, self._read_as_text(column) if column.name == key else column) for table, column in found]
        return [(t, each) for t, each in described if not self._has_part(t, each) or _is_key_text(each, key)]

    def _has_part(self, table: TableProfile, column: ColumnProfile) -> bool:
        """Return whether a column plays a part of its own and is no feature, or has another name in the config."""
        return column.name in self._parts or f"{table.role}.{column.name}" in self.profile.rename

    def _key(self, side: Side) -> str:
        return self.profile.query_id if side == "query" else self.profile.candidate_id

    def _read_as_text(self, key: ColumnProfile) -> ColumnProfile:
        """Return a key that is words, as the keywords of a search, as a text; names of users are none."""
        asked = key.name == self.profile.query_id and self.profile.queries is None and not self._often
        letters = [sign for each in key.examples for sign in each if sign.isalpha()]
        if key.kind != "category" or not asked or not letters or any(map(_has_digit, key.examples)):
            return key
        return replace(key, kind="text", mean_words=1.5, language=script_of(letters))

    @cached_property
    def _parts(self) -> set[str | None]:
        """The columns that play a part of their own."""
        profile = self.profile
        found = {profile.query_id, profile.candidate_id, profile.time, profile.weight, profile.feedback.column}
        return found | {profile.published_fold}

    @cached_property
    def query_texts(self) -> list[ColumnProfile]:
        """The texts of a query."""
        return [column for _, column in self.columns("query") if column.kind == "text"]

    @cached_property
    def candidate_texts(self) -> list[ColumnProfile]:
        """The texts of a candidate."""
        return [column for _, column in self.columns("candidate") if column.kind == "text"]

    @cached_property
    def queries_return(self) -> bool:
        """Whether queries have histories: users, not questions."""
        profile = self.profile
        return self._often or profile.share_repeated_queries >= SHARE_OF_RETURNING

    @property
    def asks_by_keywords(self) -> bool:
        """Whether the ids of queries are words, whose occurrence in candidates was not counted."""
        key = self.profile.interactions.columns.get(self.profile.query_id)
        return key is not None and key.kind == "category" and any(c.name == key.name for c in self.query_texts)

    @property
    def _often(self) -> bool:
        return self.profile.pairs_per_query >= FEW_EVENTS_OF_A_QUERY

    @cached_property
    def own_lists(self) -> bool:
        """Whether each query has a list of its own: liked and not liked candidates that belong to about one query.

        Candidates with a table of their own are a corpus to search.
        """
        profile = self.profile
        if profile.candidates is not None:
            return False
        judged = profile.num_pairs + profile.num_negative_pairs
        return profile.num_negative_pairs >= profile.num_queries > 0 and judged <= 1.5 * profile.num_candidates

    @cached_property
    def task(self) -> Task:
        """What the user or the data ask for."""
        if self.asked_task is not None:
            return self._checked_task(self.asked_task)
        if not self.query_texts:
            return "recommend"
        if self.own_lists:
            return "rerank"
        asked = any(column.name == self.profile.query_id for column in self.query_texts)
        searched = asked or self.profile.share_shared_texts >= OWN_TEXTS or not self.queries_return
        return "search" if searched else "recommend"

    def _checked_task(self, task: Task) -> Task:
        """Return the task that the user named.

        Raises:
            UserError: the data cannot be used for it.
        """
        if task == "rerank" and not self.profile.num_negative_pairs:
            raise UserError(
                "--task is rerank, which needs pairs that are not liked, and every row counts as liked; name the "
                "column that says so by `--label`, or what is liked by `--positive`"
            )
        if task == "search" and not self.query_texts:
            raise UserError("--task is search, but no column of a query holds a text")
        return task

    @cached_property
    def has_time(self) -> bool:
        """Whether every event that is read has a time."""
        time = self.profile.interactions.columns.get(self.profile.time or "")
        complete = time is None or not time.missing or "missing" in self.profile.drop
        return self.profile.time is not None and complete

    @property
    def training_pairs(self) -> int:
        """Liked pairs, of which about a fifth will be held out."""
        return round(0.8 * self.profile.num_pairs)

    @property
    def likes_of_a_candidate(self) -> float:
        """Liked pairs for each candidate of the corpus, on average."""
        return self.profile.num_pairs / max(1, self.profile.num_candidates)


def _is_key_text(column: ColumnProfile, key: str) -> bool:
    """Return whether a column is the id of its side and a text, as in pairs of raw texts."""
    return column.name == key and column.kind in ("text", "picture")


def _has_digit(text: str) -> bool:
    return any(sign.isdigit() for sign in text)


def script_of(letters: Sequence[str]) -> str:
    """Return the script of most letters, by Unicode's names.

    Example:
        >>> script_of("лицо"), script_of("cat"), script_of("猫")
        ('Cyrillic', 'Latin', 'Han')
    """
    names = Counter(unicodedata.name(sign, "LATIN").split()[0] for sign in letters)
    name = names.most_common(1)[0][0].capitalize()
    return "Han" if name == "Cjk" else name
