"""Emoji in two styles: another artist's drawing finds Noto's picture of the same emoji."""

from __future__ import annotations

import os
from pathlib import Path

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.emoji import CANDIDATES
from dssm_lightning.data.sources.shipped_files import shipped_digest, shipped_table
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables

PACKAGE = "emoji-datasource-twitter"
_PERSON, _PEOPLE = "1F9D1", ("1F468", "1F469")  # man, woman
_DETAILS = ("200D", "FE0F", "2640", "2642", "27A1")  # joiner, colour, female, male, facing right


class EmojiStyles(Source):
    """Search Noto's pictures of 1,911 emoji by another artist's drawing of one.

    - candidates: those of :class:`~dssm_lightning.data.sources.Emoji`: ``unified``, ``emoji``, ``name``, ``category``,
      ``subcategory``, ``picture`` (PNG bytes, 64 × 64). They ship with the package.
    - queries: ``drawing_id`` (the file's name without its ending), ``drawing`` (the file's bytes), and ``base``:
      emoji of one base are variants of each other.
    - interactions: ``drawing_id``, ``unified``.

    The drawings are PNG files that are named by the code points, such as ``1f600.png``. They do not ship with the
    package. Twemoji (CC BY 4.0) is the folder ``img/twitter/64`` of the npm package emoji-datasource-twitter; its
    sister packages have other artists' drawings. Files of other emoji are ignored.

    A split of random emoji would train on a woman who rides a bicycle and test on a man who does. With
    ``HashedQueries(column="base")`` such variants are held out together. One base have: a person, a man and a woman
    of one kind, also those that face right; all families and couples; emoji whose drawings or pictures are equal, such
    as the flags of Norway and of Svalbard.

    Args:
        folder: the folder of drawings; None = ``emoji/twemoji64`` in the folder that the environment variable DSSM_DATA
            names, else in ``data``.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("1f6b4-200d-2640-fe0f", "1f6b4-200d-2642-fe0f", "1f431"):  # two cyclists, a cat
        ...         _ = Path(folder, f"{name}.png").write_bytes(name.encode())
        ...     EmojiStyles(folder).tables().queries["base"].to_list()
        ['1F431', '1F6B4', '1F6B4']
    """

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder

    def tables(self) -> RawTables:
        """Read the drawings and the candidates.

        Raises:
            FileNotFoundError: the folder has no drawing of a candidate. The message says where to get them.
        """
        candidates, files = shipped_table(CANDIDATES), self._files()
        drawings = pl.DataFrame(
            {"unified": list(files), "drawing": [file.read_bytes() for file in files.values()]},
            schema={"unified": pl.String, "drawing": pl.Binary},
        )
        queries = candidates.join(drawings, on="unified", how="inner", maintain_order="left").with_columns(
            base=pl.struct("unified", "name", "subcategory").map_elements(_base, return_dtype=pl.String),
            drawing_id=pl.col("unified").str.to_lowercase(),
        )
        queries = _joined(queries)
        keys = ColumnRoles("drawing_id", "unified")
        return RawTables(
            queries.select("drawing_id", "unified"),
            queries.select("drawing_id", "drawing", "base"),
            candidates,
            keys,
            display=("emoji", "name"),
        )

    def fingerprint(self) -> str:
        """Return a hash of the shipped file, and of the path, size and modification time of each drawing."""
        stats = [(file, file.stat()) for file in self._files().values()]
        return self._digest(
            shipped_digest(CANDIDATES), *(f"{file}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in stats)
        )

    def _files(self) -> dict[str, Path]:
        """Return the drawing of each candidate that has one."""
        root = Path(os.environ.get("DSSM_DATA", "data"), "emoji", "twemoji64")
        folder = root if self.folder is None else Path(self.folder).expanduser()
        known = set(shipped_table(CANDIDATES)["unified"])
        found = {file.stem.upper(): file for file in sorted(folder.glob("*.png"))}
        files = {unified: file for unified, file in found.items() if unified in known}
        if not files:
            raise FileNotFoundError(
                f"EmojiStyles: {folder.absolute()} has no drawings such as 1f600.png; Twemoji's are in the folder "
                f"img/twitter/64 of the npm package {PACKAGE} (CC BY 4.0): `npm install {PACKAGE}`, and set `folder` "
                "to that folder, or DSSM_DATA to the folder that contains emoji/twemoji64"
            )
        return files


def _joined(queries: pl.DataFrame) -> pl.DataFrame:
    """Make whole bases one if two of their drawings or pictures are equal, also by way of other bases."""
    while True:
        before = queries["base"]
        for same in ("drawing", "picture", "base"):
            least = pl.col("base").min().over("base before" if same == "base" else same)
            queries = queries.with_columns(**{"base before": before}, base=least)
        if queries["base"].equals(before):
            return queries.drop("base before")


def _base(emoji: dict[str, str]) -> str:
    """Return what the variants of an emoji have in common: its code points without sex and direction."""
    if emoji["subcategory"] == "family" or emoji["name"].startswith("family"):
        return "family"
    points = emoji["unified"].split("-")
    plain = [_PERSON if point in _PEOPLE else point for point in points if point not in _DETAILS]
    return "-".join(plain or points)
