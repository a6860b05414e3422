"""Read a text file or a JSON text; what is wrong with it is one line that names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dssm_lightning.utils.errors import UserError


def read_utf8(path: Path, name: str | None = None) -> str:
    """Return the content of a text file, without the mark at its start that some editors write.

    Args:
        path: the file.
        name: what a message calls it; None = its path.

    Raises:
        UserError: another encoding. The message has the line of the first byte that is not UTF-8.
        OSError: no such file, or a file that cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder, "shop.yaml")
        ...     _ = path.write_bytes("name: café".encode("latin-1"))
        ...     read_utf8(path, "shop.yaml")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: shop.yaml, line 1: byte 0xe9 is not UTF-8, the file may be Latin-1 \
(ISO 8859-1); save it as UTF-8
    """
    name, content = name or str(path), path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{name} is encoded as UTF-16; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1  # of the bytes without their mark
        raise UserError(
            f"{name}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8, the file may be Latin-1 "
            "(ISO 8859-1); save it as UTF-8"
        ) from error


def parse_json(text: str, name: str) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the JSON text.
        name: what a message calls it, such as ``--input cat.json``.

    Raises:
        UserError: no JSON, too deeply nested, an object with a key that is given twice, or half of a character.

    Example:
        >>> parse_json('{"title": "cat", "title": "dog"}', "--query")
        Traceback (most recent call last):
        ...
        dssm_lightning.utils.errors.UserError: --query: the key 'title' is given twice
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) < len(pairs):
            keys = [key for key, _ in pairs]
            raise UserError(f"{name}: the key {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
        return made

    try:
        value = json.loads(text, object_pairs_hook=unique)
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UserError:
        raise
    except RecursionError as error:
        raise UserError(f"{name}: the JSON is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise UserError(f"{name}: {error.object[error.start]!r} is half of a character, which no text has") from error
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON: {error}") from error
    return value
