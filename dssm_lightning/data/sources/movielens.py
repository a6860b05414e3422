"""MovieLens 100K and 1M (GroupLens, for research, no redistribution): users, films and ratings.

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5 (4), 2015.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import polars as pl

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.sources.download import obtain
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError, require_choice

NEEDED = {
    "100k": ("u.data", "u.item", "u.user", "u.genre", "ua.base", "ua.test"),
    "1m": ("ratings.dat", "movies.dat", "users.dat"),
}
MD5 = {"100k": "0e33842e24a9c977be4e0107933c0723", "1m": "c4d9eecfca2ab87c1945afe126590906"}
"""Checksums that GroupLens publishes with the archives."""
URL = "https://files.grouplens.org/datasets/movielens/ml-{}.zip"
RATING = ["user_id", "movie_id", "rating", "timestamp"]
RELEASE_YEAR = r"\((\d{4})\)\s*$"


class MovieLens(Source):
    """Read the original files of MovieLens 100K or 1M.

    The files are read from ``<root>/ml-100k`` or ``<root>/ml-1m``. If this folder is missing, it is unpacked from the
    .zip file in ``<root>``; if that file is missing, too, it is downloaded from GroupLens and checked.

    - interactions: ``user_id``, ``movie_id``, ``rating`` (1 to 5), ``timestamp`` (seconds since 1970, or another number
      that orders a user's ratings); 100K also ``ua``, the published fold: "train" (``ua.base``) or "test" (``ua.test``,
      ten ratings of each user).
    - queries: ``user_id``, ``age`` (1M: the lowest age of a bracket), ``gender`` (M or F), ``occupation`` (1M: a
      number, see its README), ``zip_code`` (text).
    - candidates: ``movie_id``, ``title`` (with the year, as in the file), ``year`` (of the title, else of the release;
      null if unknown), ``genres``. If the folder ``ml-1m`` has them, also ``poster`` (path of
      ``posters/<movie_id>.jpg``, beginning with ``root``; null if missing) and ``abstract`` (from
      ``dbpedia_abstracts.json``; null if missing).

    Args:
        variant: "100k" or "1m".
        root: folder that contains ``ml-100k`` or ``ml-1m``; None = the environment variable DSSM_DATA, else ``data``.
        min_rating: keep only ratings of at least this number, as positives; None = all ratings.
        label_above: keep all ratings, with a column ``label``: 1 for ratings above this number, else 0 (shown and not
            liked); None = no labels.
        url: another URL of the same archive; None = GroupLens's URL.

    Raises:
        UserError: an unknown variant; both ``min_rating`` and ``label_above``.

    Example:
        >>> source = MovieLens("1m", root="data", label_above=3)  # reads no file before `tables` is called
        >>> MovieLens("10m")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: MovieLens: variant is '10m'; possible are 100k, 1m; did you mean '1m'?
    """

    def __init__(
        self,
        variant: Literal["100k", "1m"],
        root: str | None = None,
        min_rating: int | None = None,
        label_above: int | None = None,
        url: str | None = None,
    ) -> None:
        require_choice("MovieLens", "variant", variant, list(NEEDED))
        if min_rating is not None and label_above is not None:
            raise UserError(
                f"MovieLens: min_rating is {min_rating}, which keeps only positives, and label_above is {label_above}, "
                "which keeps all ratings with a label; set one of the two"
            )
        self.variant, self.root, self.url = variant, root, url
        self.min_rating, self.label_above = min_rating, label_above

    def tables(self) -> RawTables:
        """Read the users, films and ratings; download them first if they are missing.

        Raises:
            FileNotFoundError: the folder exists, but a file is missing.
            ConnectionError: the folder is missing, and the archive cannot be downloaded.
            UserError: the archive is not the published one.
        """
        folder = self._folder()
        queries, candidates, ratings = _read_100k(folder) if self.variant == "100k" else _read_1m(folder)
        if self.min_rating is not None:
            ratings = ratings.filter(pl.col("rating") >= self.min_rating)
        label = None
        if self.label_above is not None:
            label = "label"
            ratings = ratings.with_columns((pl.col("rating") > self.label_above).cast(pl.Int8).alias(label))
        keys = ColumnRoles("user_id", "movie_id", label=label, time="timestamp")
        return RawTables(ratings, queries, candidates, keys, display=("title",))

    def fingerprint(self) -> str:
        """Return a hash of the arguments, and of the path, size and modification time of each file."""
        files = sorted(each for each in self._folder().rglob("*") if each.is_file())
        stats = [(file, file.stat()) for file in files]
        return self._digest(*(f"{file}:{stat.st_size}:{stat.st_mtime_ns}" for file, stat in stats))

    def _folder(self) -> Path:
        root = Path(os.environ.get("DSSM_DATA", "data") if self.root is None else self.root)
        folder = root / f"ml-{self.variant}"
        if not folder.is_dir():
            obtain(folder, self.url or URL.format(self.variant), MD5[self.variant])
        missing = [name for name in NEEDED[self.variant] if not (folder / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{folder.absolute()} lacks {', '.join(missing)}: put all files of ml-{self.variant}.zip into the "
                "folder, or delete the folder to download it again"
            )
        return folder


def _read_100k(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    users = _separated(folder / "u.user", "|", ["user_id", "age", "gender", "occupation", "zip_code"])
    folds = pl.concat(
        _separated(folder / f"ua.{part}", "\t", RATING).select("user_id", "movie_id", ua=pl.lit(fold))
        for part, fold in (("base", "train"), ("test", "test"))
    )
    ratings = _separated(folder / "u.data", "\t", RATING)
    ratings = ratings.join(folds, on=["user_id", "movie_id"], how="left", maintain_order="left")
    genres = _separated(folder / "u.genre", "|", ["genre", "number"])["genre"].drop_nulls().to_list()
    films = _separated(folder / "u.item", "|", ["movie_id", "title", "release", "video", "imdb", *genres])
    carried = pl.concat_list(pl.when(pl.col(genre) == 1).then(pl.lit(genre)) for genre in genres)
    released = pl.col("release").cast(pl.String).str.extract(r"(\d{4})$")
    year = pl.coalesce(pl.col("title").str.extract(RELEASE_YEAR), released).cast(pl.Int64)
    candidates = films.select("movie_id", "title", year=year, genres=carried.list.drop_nulls())
    return users, candidates, ratings


def _read_1m(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    users = _double_colon(folder / "users.dat", ["user_id", "gender", "age", "occupation", "zip_code"])
    users = users.select("user_id", "age", "gender", "occupation", "zip_code")
    ratings = _double_colon(folder / "ratings.dat", RATING)
    candidates = _films_1m(folder / "movies.dat")
    if (folder / "posters").is_dir():
        posters = {int(each.stem): str(each) for each in (folder / "posters").glob("*.jpg")}
        candidates = candidates.with_columns(_looked_up(posters).alias("poster"))
    if (folder / "dbpedia_abstracts.json").is_file():
        abstracts = json.loads((folder / "dbpedia_abstracts.json").read_text(encoding="utf-8"))
        candidates = candidates.with_columns(_looked_up({int(k): v for k, v in abstracts.items()}).alias("abstract"))
    return users, candidates, ratings


def _looked_up(values: dict[int, str]) -> pl.Expr:
    return pl.col("movie_id").replace_strict(values, default=None, return_dtype=pl.String)


def _separated(path: Path, separator: str, names: list[str]) -> pl.DataFrame:
    """Read a Latin-1 file without a header line, in which a quotation mark is an ordinary character."""
    return pl.read_csv(
        path,
        separator=separator,
        has_header=False,
        new_columns=names,
        quote_char=None,
        encoding="iso-8859-1",
        schema_overrides={name: pl.String for name in names if name == "zip_code"},
        infer_schema_length=None,
    )


def _double_colon(path: Path, names: list[str]) -> pl.DataFrame:
    """Read fields without colons, separated by ``::``: with the separator ``:``, every second column is empty."""
    padded = [part for name in names for part in (name, f"{name}::")][:-1]
    return _separated(path, ":", padded).select(names)


def _films_1m(path: Path) -> pl.DataFrame:
    """Read the films. Titles may contain colons, so each line is split at the first two ``::`` only."""
    lines = pl.Series("line", path.read_bytes().decode("iso-8859-1").split("\n")).str.strip_chars_end("\r")
    fields = lines.filter(lines != "").str.splitn("::", 3).struct.rename_fields(["movie_id", "title", "genres"])
    films: pl.DataFrame = fields.struct.unnest()
    return films.select(
        pl.col("movie_id").cast(pl.Int64),
        "title",
        pl.col("title").str.extract(RELEASE_YEAR).cast(pl.Int64).alias("year"),
        pl.col("genres").str.split("|"),
    )
