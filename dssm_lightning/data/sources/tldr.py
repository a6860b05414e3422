"""What one wants to do at a command line, and the page that says how. Ships with the package."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.shipped_files import shipped_digest, shipped_table
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables

CANDIDATES, EXAMPLES = "tldr_pages.parquet", "tldr_examples.parquet"


class Tldr(Source):
    """7,425 pages of tldr-pages (CC BY 4.0), found by the task descriptions of their examples.

    - candidates: ``page_id`` (platform and command), ``platform``, ``title`` (the command), ``description``, ``text``
      (title and description, with a space between).
    - queries: ``query``, the distinct task descriptions; the text is the id.
    - interactions: ``query``, ``page_id``, ``heldout``: the published fold. "test" for the 2,848 texts (3,257
      interactions) that are never trained on, else "train". Two interactions stand there twice.
    """

    def tables(self) -> RawTables:
        """Pages, task descriptions, and which belongs to which."""
        interactions = shipped_table(EXAMPLES)
        pages = shipped_table(CANDIDATES).with_columns(
            pl.concat_str("title", "description", separator=" ").alias("text")
        )
        queries = interactions.select("query").unique(maintain_order=True)
        display = ("title", "platform", "description")
        return RawTables(interactions, queries, pages, ColumnRoles("query", "page_id"), display)

    def fingerprint(self) -> str:
        """Changes with the shipped files."""
        return self._digest(shipped_digest(CANDIDATES, EXAMPLES))
