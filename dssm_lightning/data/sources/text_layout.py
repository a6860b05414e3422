"""How the text of files is written: separator, quotation marks, encoding and column names; and its copy in UTF-8."""

from __future__ import annotations

import codecs
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from dssm_lightning.data.sources.file_formats import DELIMITED, Format
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

UNIT = "\x1f"
"""The separator in copies of files whose own separator is no single byte."""
CHUNK = 1 << 20
"""Number of bytes that are decoded at a time."""
_SEPARATORS: dict[Format, str] = {"CSV": ",", "TSV": "\t", "delimited text": ","}
_MARKS = (  # the longer ones first: the mark of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_USUAL = ("utf-8", "utf-16", "latin-1", "cp1252", "cp1251", "shift_jis", "gb18030", "euc_kr")


@dataclass(frozen=True)
class TextLayout:
    """How the text of a file is written.

    Raises:
        UserError: a separator or an encoding that cannot be one; a column name that occurs twice.

    Example:
        >>> TextLayout(separator="::").separator_of("CSV"), TextLayout().separator_of("TSV")
        ('::', '\\t')
        >>> TextLayout(encoding="latin-9x")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: encoding is 'latin-9x', which Python does not know; usual are utf-8, \
utf-16, latin-1, cp1252, cp1251, shift_jis, gb18030, euc_kr; did you mean 'latin-1'?
    """

    separator: str | None = None
    """Text between fields; None = a comma, in TSV a tab."""
    encoding: str | None = None
    """Encoding, by Python's name; None = as the byte order mark says, else UTF-8."""
    quote: bool | None = None
    """Whether ``"`` encloses fields; None = in CSV only."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of a file whose first line has none; None = the first line names them."""

    def __post_init__(self) -> None:
        if self.separator is not None and (not self.separator or set(self.separator) & set('"\r\n')):
            raise UserError(
                f"separator is {self.separator!r}; it must be the text between two fields, without quotation marks "
                "and line breaks"
            )
        try:
            codecs.getincrementaldecoder(self.encoding or "utf-8")().decode(b"", True)
            "".encode(self.encoding or "utf-8")  # refuses codecs such as zlib, which are no encodings of text
        except (LookupError, ValueError, TypeError) as error:
            raise UserError(
                f"encoding is {self.encoding!r}, which Python does not know; usual are {', '.join(_USUAL)}"
                f"{did_you_mean(str(self.encoding), _USUAL)}"
            ) from error
        names = self.columns
        if names is not None and (len(set(names)) < len(names) or not names):
            raise UserError(f"columns is {list(names)}; it must name each column of the file, and each name once")

    def separator_of(self, kind: Format) -> str:
        r"""Return the text between fields; a backslash with a t is a tab, as some YAML files have it."""
        return _SEPARATORS[kind] if self.separator is None else self.separator.replace("\\t", "\t")

    def quoted(self, kind: Format) -> bool:
        """Return whether ``"`` encloses fields."""
        return kind == "CSV" if self.quote is None else self.quote

    def read_separator(self, kind: Format) -> str:
        """Return the separator that Polars reads: one byte, in the file or in its copy."""
        own = self.separator_of(kind)
        return own if len(own.encode()) == 1 else UNIT


def needs_copy(path: Path, kind: Format, layout: TextLayout) -> str | None:
    """Return the encoding of which a copy in UTF-8 is needed for Polars to read the file; None = it reads the file.

    Raises:
        UserError: the file holds bytes that are no text.
    """
    head = _head(path)
    found = layout.encoding or next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")
    plain = codecs.lookup(found).name in ("utf-8", "ascii")
    if plain and b"\0" in head:
        raise UserError(
            f"line 1 of {path} has zero bytes, as in UTF-16 without a byte order mark: name the encoding, such as "
            "`encoding: utf-16-le`"
        )
    bom = head.startswith(codecs.BOM_UTF8)
    delimited = kind in DELIMITED
    if delimited and (layout.read_separator(kind) == UNIT or (plain and b"\r" in head and b"\n" not in head)):
        return "utf-8-sig" if bom and plain else found
    if plain or found == "utf-8-sig":
        return "utf-8-sig" if bom and not delimited else None  # Polars knows this mark in CSV only
    return found


def copied(path: Path, kind: Format, layout: TextLayout, encoding: str, target: Path) -> None:
    """Write a copy of the file in UTF-8 with separators of one byte, in pieces.

    Raises:
        UserError: the file is not written in this encoding, or holds the byte that separates fields of the copy.
    """
    own = layout.separator_of(kind) if kind in DELIMITED else None
    replaced = own is not None and layout.read_separator(kind) == UNIT
    with target.open("w", encoding="utf-8", newline="", errors="surrogatepass") as out:
        pieces = _with_newlines(_decoded(path, encoding))
        for piece in _separated(pieces, own, path) if replaced and own is not None else pieces:
            out.write(piece)


def opened(path: Path) -> IO[bytes]:
    """Open a file, or the text that a file packed by gzip holds, whatever its ending."""
    return cast("IO[bytes]", gzip.open(path)) if _begins(path, b"\x1f\x8b") else path.open("rb")


def is_zstandard(path: Path) -> bool:
    """Return whether the file is packed by Zstandard, which only Polars reads."""
    return _begins(path, b"\x28\xb5\x2f\xfd")


def _begins(path: Path, mark: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _head(path: Path) -> bytes:
    if is_zstandard(path):
        return b""
    with opened(path) as file:
        return file.read(1 << 12)


def _decoded(path: Path, encoding: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)()
    lines, first = 1, True
    with opened(path) as file:
        while True:
            chunk = file.read(CHUNK)
            try:
                text = decoder.decode(chunk, not chunk)
            except UnicodeError as error:
                raise _not_in(path, encoding, lines, error) from error
            lines += text.count("\n")
            yield text.removeprefix("\ufeff") if first else text
            first = first and not text
            if not chunk:
                return


def _not_in(path: Path, encoding: str, lines: int, error: UnicodeError) -> UserError:
    found = ""
    if isinstance(error, UnicodeDecodeError):
        lines += bytes(error.object[: error.start]).count(b"\n")
        found = f": …{bytes(error.object[max(error.start - 20, 0) : error.end + 20])!r}…"
    return UserError(f"line {lines:,} of {path} is not {encoding}{found}; name the file's own `encoding`")


def _with_newlines(pieces: Iterator[str]) -> Iterator[str]:
    """Replace single carriage returns, the line breaks of old programs, if the first piece has no other ones."""
    old: bool | None = None
    for piece in pieces:
        if old is None and piece:
            old = "\r" in piece and "\n" not in piece
        yield piece.replace("\r", "\n") if old else piece


def _separated(pieces: Iterator[str], separator: str, path: Path) -> Iterator[str]:
    """Replace separators, also those that two pieces share."""
    rest = ""
    for piece in pieces:
        if UNIT in piece:
            raise UserError(f"{path} holds the character U+001F, which cannot stand in a text with such separators")
        *fields, last = (rest + piece).split(separator)
        held = next((n for n in range(min(len(separator) - 1, len(last)), 0, -1) if separator.startswith(last[-n:])), 0)
        rest = last[len(last) - held :]
        yield UNIT.join([*fields, last[: len(last) - held]])
    yield rest


def setting_of(value: Any, role: str) -> Any:
    """Return a table's own value of a setting: one value is for all tables, a mapping has one for each table."""
    return value.get(role) if isinstance(value, dict) else value


def names_of(columns: Sequence[str] | dict[str, list[str]] | None, role: str) -> tuple[str, ...] | None:
    """Return the names of a table's columns: a list is for the interactions, a mapping for each table."""
    if columns is None:
        return None
    found: Any = columns.get(role) if isinstance(columns, dict) else (columns if role == "interactions" else None)
    return None if found is None else tuple(found)
