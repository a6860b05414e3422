"""Emoji and their search words in 28 languages. The data ship with the package."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.shipped_files import shipped_digest, shipped_table
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError

CANDIDATES, QUERIES = "emoji.parquet", "emoji_queries.parquet"


class Emoji(Source):
    """Search 1,911 emoji by their label (the name) or by one of several keywords (tags).

    - candidates: ``unified`` (code points, the id), ``emoji`` (the characters), ``name``, ``category``,
      ``subcategory``, ``picture`` (PNG bytes, 64 × 64).
    - queries: ``query_id`` (language and text: ``en:cat``), ``query`` (the text), ``lang``, ``kind``: "label" if the
      text is the label of any emoji in its language, else "tag".
    - interactions: ``query_id``, ``unified``. A tag often belongs to several emoji. A pair occurs twice if the text is
      both the label and a tag of the emoji.

    Sources: pictures from Noto Emoji (Apache-2.0), names from emoji-datasource (MIT), labels and tags from CLDR and
    emojibase (Unicode licence, MIT); see ``shipped/NOTICE.md``.

    Args:
        languages: languages of the queries, e.g. ``en``, ``ru``, ``zh-hant``; None = English. Names are always English.

    Example:
        >>> queries = Emoji(["de"]).tables().queries
        >>> queries.filter(pl.col("query") == "Katze").row(0, named=True)
        {'query_id': 'de:Katze', 'query': 'Katze', 'lang': 'de', 'kind': 'label'}
    """

    def __init__(self, languages: list[str] | None = None) -> None:
        self.languages = ["en"] if languages is None else languages

    def tables(self) -> RawTables:
        """Read the emoji and the queries of the chosen languages.

        Raises:
            UserError: no language, or an unknown language.
        """
        shipped = shipped_table(QUERIES)
        known = shipped["lang"].unique().sort().to_list()
        unknown = [lang for lang in self.languages if lang not in known]
        if unknown or not self.languages:
            found = f"languages has unknown {', '.join(unknown)}" if unknown else "languages is empty"
            raise UserError(f"Emoji: {found}; possible are {', '.join(known)}")
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
        """Return a hash of the languages and of the shipped files."""
        return self._digest(shipped_digest(CANDIDATES, QUERIES))
