"""The encoding of a text file, decided from its bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from dssm_lightning.data.sources.text_layout import CHUNK, is_zstandard, opened
from dssm_lightning.utils.errors import UserError

MOST_BYTES = 1 << 31
"""Bytes of a file that are checked for UTF-8; a longer file is judged by its beginning."""
SAMPLE = 1 << 18
"""Bytes of lines beyond ASCII by which another encoding is judged."""
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
_BINARY = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"PAR1", "Parquet: let its name end in .parquet"),
    (b"ARROW1", "an Arrow file: write it as Parquet"),
    (b"SQLite format 3", "an SQLite database: export its tables as CSV"),
    (b"\x89PNG", "a picture: give a table that names it, or the folder of pictures"),
    (b"\xff\xd8\xff", "a picture: give a table that names it, or the folder of pictures"),
    (b"%PDF", "a PDF: export its table as CSV"),
    (b"BZh", "packed by bzip2: unpack it, or pack it by gzip"),
    (b"\xfd7zXZ", "packed by xz: unpack it, or pack it by gzip"),
    (b"\x80\x04\x95", "a Python pickle: write it as Parquet"),
    (b"\x80\x05\x95", "a Python pickle: write it as Parquet"),
)
_WESTERN = ("éèáíóúàêâçãäöüñßåôîëïøæÉÖÜÄ", "òìùõûœšžýðþºª")
_CENTRAL = ("ąęłśżćěščřžýáíéůúńóőöüäťďňŁŽŠČ", "ŕĺľűźăşţđ")
_TURKISH = ("ğşıöüçİŞÖÜÇ", "âîûéáíó")
_ALPHABETS = (  # the letters that are frequent in the languages of each encoding
    ("cp1251", "оеаинтсрвлкмдпу"),
    ("koi8_r", "оеаинтсрвлкмдпу"),
    ("cp1253", "αοιετσνηυρπκμλς"),
    ("cp1255", "יוהלאמתרבשנדפחק"),
    ("cp1256", "اليمنوتربةعدسفهك"),
    ("cp874", "านรอกเงมยลวดทสตะ"),
)
_CJK = (  # name, codec, a script that others have not, and the least share of characters in daily use
    ("shift_jis", "cp932", r"[\u3040-\u30ff]", 0.25),
    ("euc_kr", "cp949", r"[\uac00-\ud7a3]", 0.95),
    ("gb18030", "gb18030", "", 0.7),
    ("big5", "big5", "", 0.7),
)


def encoding_of(path: Path, role: str) -> str | None:
    """Return the encoding of a text file, by Python's name; None = UTF-8, or what its byte order mark says.

    UTF-8 is found by reading the file, as hardly any other text is valid UTF-8. Other encodings are a judgement by the
    letters that the text would have.

    Args:
        path: a file, perhaps packed by gzip.
        role: the table's name, for the message.

    Raises:
        UserError: the file is no text. The message says what it is, and how it can be given.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "films.dat")
        ...     _ = path.write_bytes("1::Amélie (2001)::Comédie".encode("latin-1"))
        ...     encoding_of(path, "candidates")
        'latin-1'
    """
    if is_zstandard(path):
        return None
    with opened(path) as file:
        head = file.read(1 << 16)
    if head.startswith(_MARKS):
        return None
    for mark, what in _BINARY:
        if head.startswith(mark):
            raise UserError(f"{role}: {path} is no text: it seems to be {what}")
    if b"\0" in head:
        return _wide(head, path, role)
    if _is_utf8(path):
        return None
    return judged(_lines_beyond_ascii(path))


def _wide(head: bytes, path: Path, role: str) -> str:
    """Return the encoding of a text of two bytes a character without a byte order mark."""
    odd, even = head[1::2].count(0), head[::2].count(0)
    name = "utf-16-le" if odd > even else "utf-16-be"
    text = head[: len(head) // 2 * 2].decode(name, "replace")
    readable = sum(letter.isprintable() or letter in "\r\n\t" for letter in text) / max(1, len(text))
    if max(odd, even) < len(head) / 8 or readable < 0.95:
        raise UserError(
            f"{role}: {path} is no text: {head.count(0):,} of its first {len(head):,} bytes are zero; give CSV, TSV, "
            "JSON Lines or Parquet"
        )
    return name


def _is_utf8(path: Path) -> bool:
    decoder, left = codecs.getincrementaldecoder("utf-8")(), MOST_BYTES
    try:
        for chunk in _chunks(path):
            decoder.decode(chunk, not chunk)
            left -= len(chunk)
            if left <= 0:
                return True
    except UnicodeDecodeError:
        return False
    return True


def _chunks(path: Path) -> Iterator[bytes]:
    with opened(path) as file:
        while chunk := file.read(CHUNK):
            yield chunk
    yield b""


def _lines_beyond_ascii(path: Path) -> bytes:
    found, size, rest = [], 0, b""
    for chunk in _chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines if chunk else [*lines, rest]:
            if not line.isascii():
                found.append(line)
                size += len(line)
                if size > SAMPLE:
                    return b"\n".join(found)
    return b"\n".join(found)


def judged(sample: bytes) -> str:
    """Return the encoding that fits bytes which are no UTF-8.

    Example:
        >>> [judged(text.encode(name)) for name, text in (("cp1251", "Война и мир"), ("shift_jis", "千と千尋の神隠し"))]
        ['cp1251', 'shift_jis']
    """
    wide = (name for name, codec, script, least in _CJK if _plausible_cjk(sample, codec, script) >= least)
    if (name := next(wide, None)) is not None:
        return name
    words = [word for word in re.split(rb"[\x00-\x40\x5b-\x60\x7b-\x7f]+", sample) if not word.isascii()]
    whole = sum(all(byte > 0x7F for byte in word) for word in words if len(word) > 1)
    if whole > len(words) / 2:
        scores = [(_share(sample, name, letters), name) for name, letters in _ALPHABETS]
        share, name = max(scores)
        if share >= 0.45:
            return name
    return _latin(sample)


def _plausible_cjk(sample: bytes, codec: str, script: str) -> float:
    """Return the share of characters beyond ASCII that are in daily use; 0 = the bytes are not of this encoding."""
    try:
        text = re.sub(r"[\x00-\x7f]", "", sample.decode(codec))
    except UnicodeDecodeError:
        return 0.0
    if not text:
        return 0.0
    if codec == "cp932" and len(re.findall(r"[\uff61-\uff9f]", text)) > len(text) / 10:
        return 0.0  # single bytes, the letters of other alphabets
    if script:
        letters = re.sub(r"[\u3000-\u303f\uff01-\uff60]", "", text)
        return len(re.findall(script, letters)) / max(1, len(letters))
    leads = (0xB0, 0xD7) if codec == "gb18030" else (0xA4, 0xC6)
    written = [letter.encode(codec) for letter in text]
    usual = [
        code
        for code in written
        if len(code) == 2 and leads[0] <= code[0] <= leads[1] and (codec == "big5" or code[1] > 0xA0)
    ]
    marks = len(re.findall(r"[\u3000-\u303f\uff01-\uff60\u2010-\u2026]", text))
    return len(usual) / max(1, len(written) - marks)


def _share(sample: bytes, name: str, letters: str) -> float:
    text = re.sub(r"[\x00-\x7f]", "", sample.decode(name, "replace")).lower()
    return sum(text.count(letter) for letter in letters) / max(1, len(text))


def _latin(sample: bytes) -> str:
    scores = [
        (_weight(sample, "cp1252", _WESTERN), 2, "cp1252"),
        (_weight(sample, "cp1250", _CENTRAL), 1, "cp1250"),
        (_weight(sample, "cp1254", _TURKISH), 0, "cp1254"),
    ]
    name = max(scores)[2]
    controls = re.search(rb"[\x80-\x9f]", sample) is not None
    undefined = re.search(rb"[\x81\x8d\x8f\x90\x9d]", sample) is not None
    if name == "cp1252" and (not controls or undefined):
        return "latin-1"
    return name


def _weight(sample: bytes, name: str, letters: tuple[str, str]) -> float:
    text = sample.decode(name, "replace")
    beyond = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f]|[^\x00-\x7f](?=[A-Za-z])", text)  # beside letters, no ¾
    found = sum(1.0 if letter in letters[0] else 0.5 if letter in letters[1] else 0.0 for letter in beyond)
    within = re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])", text)  # signs stand between words, letters within
    return found - sum(not letter.isalpha() for letter in within)
