"""What every source is: plain arguments, and tables when they are asked for."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod

from dssm_lightning.data.tables.tables import RawTables


class Source(ABC):
    """Where raw tables come from. Cheap to construct: nothing is read before it is asked for."""

    @abstractmethod
    def tables(self) -> RawTables:
        """The raw tables.

        Raises:
            FileNotFoundError: the data are not there.
            ValueError: they cannot be read.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A short string that changes when the data or the source's arguments change."""

    def _digest(self, *parts: object) -> str:
        """A fingerprint of the class, its arguments (every attribute of the instance) and whatever else matters."""
        text = "\0".join(map(str, (type(self).__name__, sorted(vars(self).items()), *parts)))
        return hashlib.sha256(text.encode()).hexdigest()[:16]
