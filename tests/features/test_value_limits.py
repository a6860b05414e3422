"""Sizes of raw values, found before anything is encoded or decoded."""

from __future__ import annotations

import io
import struct
import time
import zlib
from typing import Any

import PIL.Image
import pytest
from helpers.any_value import QUICK, nested, raw_values
from hypothesis import given

from dssm_lightning.features import Image, Numeric
from dssm_lightning.features.picture_files import MAX_PIXELS
from dssm_lightning.features.schema import Schema
from dssm_lightning.features.value_limits import ValueLimits, characters_of, entries_in, picture_columns, picture_size
from dssm_lightning.utils.errors import UserError


def png(width: int, height: int) -> bytes:
    """A PNG file that claims a size, and has hardly any pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("value", "characters", "entries"),
    [
        ("", 0, 0),
        ("red", 3, 0),
        ("👩‍👩‍👧", 5, 0),
        (None, 0, 0),
        (7, 0, 0),
        (b"bytes", 0, 0),
        ([], 0, 0),
        ([None, 7, "shoes"], 5, 3),
        (("a", "bb"), 2, 2),
        ([["a"], ["b", "ccc"]], 3, 5),
        ([{"id": "x" * 9, "seconds": 3}], 9, 3),
        ({"id": ["a", "b"]}, 1, 3),
    ],
)
def test_sizes_by_hand(value: Any, characters: int, entries: int) -> None:
    assert (characters_of(value), entries_in(value)) == (characters, entries)


@QUICK
@given(value=raw_values())
def test_any_value_has_a_size(value: Any) -> None:
    assert characters_of(value) >= 0
    assert entries_in(value) >= (len(value) if isinstance(value, list | tuple | dict) else 0)
    ValueLimits().require("query", {"x": value}, ["x"])


def test_any_depth_is_counted() -> None:
    assert entries_in(nested(100_000)) == 100_000
    assert characters_of(nested(100_000)) == 0


@pytest.mark.parametrize(
    ("limits", "value", "message"),
    [
        (ValueLimits(characters=4), "shoes", "query column 'x' has 5 characters; at most 4 are"),
        (ValueLimits(characters=4), ["red", "shoes"], "'x' has 5 characters; at most 4"),
        (ValueLimits(entries=2), [1, 2, 3], "'x' has 3 entries; at most 2"),
        (ValueLimits(entries=2), [[1, 2]], "'x' has 3 entries; at most 2"),
        (ValueLimits(pixels=99), png(10, 10), "picture of 10 × 10 pixels; at most 99"),
        (ValueLimits(pixels=99), b"no picture", "'x' holds 10 bytes: not a picture"),
        (ValueLimits(pixels=10**9), png(8001, 8000), f"8,001 × 8,000 pixels; at most {MAX_PIXELS:,}"),
        (ValueLimits(pixels=10**9), png(60_000, 60_000), f"more than {MAX_PIXELS:,} pixels"),
    ],
)
def test_a_larger_value_is_refused(limits: ValueLimits, value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        limits.require("query", {"x": value}, ["x"])


def test_values_at_the_limit_pass() -> None:
    limits = ValueLimits(characters=3, entries=2, pixels=100)
    for value in ("red", ["red", "tan"], png(10, 10), None, 7, b"", 10**99, float("nan")):
        limits.require("candidate", {"x": value}, ["x"])
    limits.require("query", {"y": b"no picture"}, ["x"])  # the feature of y refuses it


def test_the_header_alone_is_read() -> None:
    """A picture of 64 million pixels whose pixels are missing: it has a size at once."""
    start = time.perf_counter()
    assert picture_size(png(8000, 8000)) == (8000, 8000)
    assert time.perf_counter() - start < 1
    file = io.BytesIO()
    PIL.Image.new("L", (5, 3)).save(file, "GIF")
    assert picture_size(file.getvalue()) == (5, 3)


@pytest.mark.parametrize("damage", [b"", b"\x89PNG", b"GIF89a", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBP", b"%!PS-Adobe"])
def test_a_damaged_header_is_refused_in_one_line(damage: bytes) -> None:
    with pytest.raises(UserError) as caught:
        picture_size(damage + b"\0" * 9)
    assert "\n" not in str(caught.value)


def test_the_columns_of_pictures() -> None:
    schema = Schema(
        (Image(name="a", column="photo"), Numeric(name="n"), Image(name="b", column="photo"), Image(name="c"))
    )
    assert picture_columns(schema) == ["photo", "c"]
