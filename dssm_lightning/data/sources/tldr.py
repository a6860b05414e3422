"""Tasks at a command line, and the manual pages that solve them. The data ship with the package."""

from __future__ import annotations

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.shipped_files import shipped_digest, shipped_table
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables

CANDIDATES, EXAMPLES = "tldr_pages.parquet", "tldr_examples.parquet"


class Tldr(Source):
    """Search 7,425 pages of tldr-pages (CC BY 4.0) by the task descriptions of their examples.

    - candidates: ``page_id`` (platform and command), ``platform``, ``title`` (the command), ``description``, ``text``
      (title and description, with a space between).
    - queries: ``query``, the distinct task descriptions; the text is the id.
    - interactions: ``query``, ``page_id``, ``heldout``: the published fold, "test" for 2,848 texts (3,257
      interactions) that are never trained on, else "train". Two interactions occur twice.

    Example:
        >>> Tldr().tables().interactions.filter(query="Take a screenshot")["page_id"].to_list()
        ['android/screencap']
    """

    def tables(self) -> RawTables:
        """Read the pages, the task descriptions, and the pairs of both."""
        interactions = shipped_table(EXAMPLES)
        pages = shipped_table(CANDIDATES).with_columns(
            pl.concat_str("title", "description", separator=" ").alias("text")
        )
        queries = interactions.select("query").unique(maintain_order=True)
        display = ("title", "platform", "description")
        return RawTables(interactions, queries, pages, ColumnRoles("query", "page_id"), display)

    def fingerprint(self) -> str:
        """Return a hash of the shipped files."""
        return self._digest(shipped_digest(CANDIDATES, EXAMPLES))
