"""Emoji and the words that people type to find them, in 28 languages. Ships with the package."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.shipped_files import shipped_digest, shipped_table
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError

CANDIDATES, QUERIES = "emoji.parquet", "emoji_queries.parquet"


class Emoji(Source):
    """1,911 emoji, found by what they are called: a label (the name) or one of several keywords (tags).

    - candidates: ``unified`` (code points, the id), ``emoji`` (the characters), ``name``, ``category``,
      ``subcategory``, ``picture`` (PNG bytes, 64 × 64).
    - queries: ``query_id`` (language and text: ``en:cat``), ``query`` (the text), ``lang``, ``kind``: "label" if the
      text is the label of any emoji in its language, else "tag".
    - interactions: ``query_id``, ``unified``. A tag often means several emoji; one that is also its emoji's label
      stands there twice.

    Sources: pictures Noto Emoji (Apache-2.0), names emoji-datasource (MIT), labels and tags CLDR by way of emojibase
    (Unicode licence, MIT); see ``shipped/NOTICE.md``.

    Args:
        languages: languages of the queries, e.g. ``en``, ``ru``, ``zh-hant``; names are English in any case.
    """

    def __init__(self, languages: list[str] | None = None) -> None:
        self.languages = ["en"] if languages is None else languages

    def tables(self) -> RawTables:
        """Emoji and the queries of the chosen languages.

        Raises:
            ValueError: no language, or one that does not ship.
        """
        shipped = shipped_table(QUERIES)
        there = shipped["lang"].unique().sort().to_list()
        unknown = [lang for lang in self.languages if lang not in there]
        if unknown or not self.languages:
            what = f"no queries in {', '.join(unknown)}" if unknown else "languages is empty"
            raise UserError(f"Emoji: {what}; there are {', '.join(there)}")
        rows = shipped.filter(pl.col("lang").is_in(self.languages)).with_columns(
            pl.concat_str("lang", "query", separator=":").alias("query_id")
        )
        queries = rows.group_by("query_id", maintain_order=True).agg(
            pl.first("query", "lang"),
            pl.when((pl.col("kind") == "label").any()).then(pl.lit("label")).otherwise(pl.lit("tag")).alias("kind"),
        )
        keys = ColumnRoles("query_id", "unified")
        return RawTables(
            rows.select("query_id", "unified"), queries, shipped_table(CANDIDATES), keys, display=("emoji", "name")
        )

    def fingerprint(self) -> str:
        """Changes with the languages and with the shipped files."""
        return self._digest(shipped_digest(CANDIDATES, QUERIES))
