"""Bytes that were right, with some of them changed."""

from __future__ import annotations

import random
from collections.abc import Callable

TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"%",
        b"%00",
        b"%zz",
        b"\xff",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"\xf4\x90",
    ),
    *(
        b"0",
        b"-1",
        b"9" * 30,
        b"1e999",
        b"NaN",
        b"null",
        b"true",
        b'"',
        b"\\",
        b"\\u0000",
        b"\\ud800",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(
        b"HTTP/1.1",
        b"HTTP/2",
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"chunked",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
    ),
    *(
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Host: x\r\n",
        b"[" * 2_000,
        b'{"a":' * 500,
        b"A" * 5_000,
    ),
)


def changed(draw: random.Random, data: bytes) -> bytes:
    """Return some bytes with one to six changes."""
    for _ in range(draw.choice((1, 1, 2, 3, 6))):
        data = draw.choice(_CHANGES)(draw, data)
    return data


def _flip(draw: random.Random, data: bytes) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]


def _delete(draw: random.Random, data: bytes) -> bytes:
    start, stop = _span(draw, data)
    return data[:start] + data[stop:]


def _insert(draw: random.Random, data: bytes) -> bytes:
    place = draw.randrange(len(data) + 1)
    return data[:place] + draw.choice(TOKENS) + data[place:]


def _repeat(draw: random.Random, data: bytes) -> bytes:
    start, stop = _span(draw, data)
    return data[:stop] + data[start:stop] * draw.choice((1, 1, 3, 20)) + data[stop:]


def _swap(draw: random.Random, data: bytes) -> bytes:
    start, stop = _span(draw, data)
    return data[:start] + data[stop : stop + 20] + data[start:stop] + data[stop + 20 :]


def _cut(draw: random.Random, data: bytes) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _span(draw: random.Random, data: bytes) -> tuple[int, int]:
    start = draw.randrange(len(data) + 1)
    return start, min(len(data), start + draw.choice((1, 2, 5, 40, 300)))


_CHANGES: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    _flip,
    _flip,
    _delete,
    _insert,
    _insert,
    _repeat,
    _swap,
    _cut,
)
