"""The base class of all sources."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from dssm_lightning.data.tables.tables import RawTables


class Source(ABC):
    """Return raw tables. A source is cheap to construct: it reads no file before :meth:`tables` is called.

    Example:
        >>> import polars as pl
        >>> from dssm_lightning.data.tables.column_roles import ColumnRoles
        >>> class Likes(Source):
        ...     def __init__(self, user):
        ...         self.user = user
        ...
        ...     def tables(self):
        ...         likes = pl.DataFrame({"user": [self.user], "film": ["Heat"]})
        ...         return RawTables(likes, None, None, ColumnRoles("user", "film"))
        ...
        ...     def fingerprint(self):
        ...         return self._digest()
        >>> Likes("ann").fingerprint() == Likes("bob").fingerprint()
        False
    """

    @abstractmethod
    def tables(self) -> RawTables:
        """Read the raw tables.

        Raises:
            FileNotFoundError: a file is missing.
            UserError: a file cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a short text that changes when the data or the source's arguments change."""

    def _digest(self, *parts: object) -> str:
        """Return a hash of the class, its arguments (all attributes of the instance) and further parts."""
        text = "\0".join(map(str, (type(self).__name__, sorted(vars(self).items()), *parts)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
