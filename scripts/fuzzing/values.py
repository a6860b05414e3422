"""Values that a server may not expect."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any


def _png(width: int, height: int, rows: bytes = b"") -> str:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    file = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return base64.b64encode(file).decode()


PICTURES = (
    _png(8, 8, bytes(72)),
    _png(8, 8, b""),
    _png(60_000, 60_000, b"\0" * 9),
    _png(0, 0),
    _png(2**31 - 1, 1),
    "data:image/png;base64," + _png(2, 2, bytes(6)),
    _png(8, 8, bytes(72))[:40],
    base64.b64encode(b"GIF89a\xff\xff\xff\xff\xf7\x00\x00").decode(),
    base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg' onload='x()'/>").decode(),
    base64.b64encode(b"II*\x00\x08\x00\x00\x00\xff\xff").decode(),
    base64.b64encode(b"RIFF\xff\xff\xff\xffWEBPVP8 ").decode(),
    base64.b64encode(b"P5 99999 99999 255\n").decode(),
    "////",
    "=",
    "AAA",
)
TEXTS = (
    *(
        "",
        " ",
        "\0",
        "a\0b",
        "\ud800",
        "\udfff\ud800",
        "\ufeff",
        "\u202e",
        "e" + "\u0301" * 500,
        "\U0001f468\u200d\U0001f4bb",
    ),
    *(
        "a" * 9_999,
        "a" * 10_000,
        "a" * 10_001,
        "word " * 2_000,
        "\U0010ffff" * 5_000,
        "\n" * 300,
        "'",
        '"',
        "`",
        "\\",
        "%s%n",
    ),
    *(
        "../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://127.0.0.1:1/",
        "\\\\host\\share",
        "nul",
        "a.png",
    ),
    *("2024-02-30", "2024-02-29", "9999-12-31T23:59:59.999999999Z", "0000-00-00", "-1-1-1", "24:00:00", "12:60", "now"),
    *(
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "1e999",
        "1_000",
        "\u0663",
        "0x10",
        "1e5",
        "True",
        "null",
        "[]",
        "{}",
        "i1",
        "q1",
    ),
    *(
        "<script>alert(1)</script>",
        "${jndi:ldap://x}",
        "' or 1=1 --",
        "\u0130\u0131\u1e9e",
        "\u1100\u1161\u11a8",
        "\x1b[2J",
    ),
)
NUMBERS = (
    *(
        0,
        -1,
        1,
        2,
        10,
        1_000,
        1_001,
        2**31,
        2**31 - 1,
        -(2**31),
        2**53 + 1,
        2**63,
        -(2**63) - 1,
        2**64,
        10**30,
        10**400,
    ),
    *(0.0, -0.0, 0.5, 1.5, 1e308, -1e308, 1e-320, 5e-324, 3.4e38, 1e39, 0.1, float("nan"), float("inf"), -float("inf")),
)
LISTS: tuple[Any, ...] = (
    [],
    [[]],
    [None],
    [1, "1", 1.0, True],
    ["a"] * 1_001,
    [0.5] * 8,
    [1e39] * 8,
    ["i1", "i2"],
    [[1, 2]],
    [{}],
)
OBJECTS: tuple[Any, ...] = (
    {},
    {"": 1},
    {"\0": 1},
    {"\ud800": 1},
    {"a" * 5_000: 1},
    {"__class__": "x"},
    {"id": "i1", "seconds": -1},
    {"id": "i1", "seconds": 1e308},
    {"id": None},
    {str(n): n for n in range(300)},
)
OF_KINDS: dict[type, tuple[Any, ...]] = {
    str: TEXTS,
    int: NUMBERS,
    float: NUMBERS,
    list: LISTS,
    bool: (True, False, None, 1),
}
OPTIONS: dict[str, tuple[Any, ...]] = {
    "k": (1, 2, 7, 50, 1_000),
    "exclude": ([], ["i1"], [1, "1", 1.0, True], ["i1"] * 1_000, [f"i{n}" for n in range(59)]),
    "hybrid": (0, 0.3, 1, -1, 1e308, 5e-324),
    "exclude_history": (True, False),
    "explain": (True, False),
}
OF_BOTH = ("k", "exclude")
FILTER_WORDS = (
    *(
        "and",
        "or",
        "not",
        "in",
        "not in",
        "(",
        ")",
        ",",
        "=",
        "!=",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "null",
        "true",
        "false",
    ),
    *("'a'", '"b"', "''", "'", "1", "-1", "1e999", "1e-999", "0.5", ".5", "5.", "9" * 400, "'2024-01-01'", "'99:99'"),
    *("'\\ud800'", "'\\u00e9'", "'\\x'", "`", "``", "\0", "\n", "--", ";", "*", "%", "\u00e9", "\u2028"),
)


def deep(depth: int) -> Any:
    """Return lists and objects in each other."""
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 3 else {"a": value}
    return value
