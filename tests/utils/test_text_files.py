"""Texts and JSON of users: another encoding, a broken or hostile file is one line that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.text_files import parse_json, read_utf8


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: b\nc: café".encode("latin-1"), "x.yaml, line 2: byte 0xe9.*Latin-1.*UTF-8"),
        (b"\xef\xbb\xbfa: \xff", "x.yaml, line 1: byte 0xff"),
        ("a: b".encode("utf-16"), "x.yaml is encoded as UTF-16"),
    ],
)
def test_another_encoding(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_utf8(path)
    with pytest.raises(UserError, match=r"--config mine(, line| is)"):
        read_utf8(path, "--config mine")


def test_the_mark_of_an_editor_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"\xef\xbb\xbf{}")
    assert read_utf8(path) == "{}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cat.json is not valid JSON: .*line 1"),
        ("[" * 100_000, "cat.json.*nested too deeply"),
        ('{"a": {"b": 1, "c": 2, "b": 3}}', "cat.json: the key 'b' is given twice"),
        (r'{"query": "\ud83d"}', r"cat.json: '\\ud83d' is half of a character"),
        (r'{"\udc00": 1}', "cat.json.*half of a character"),
        ("9" * 5000, "cat.json.*digits"),
    ],
    ids=range(6),
)
def test_json_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_json(text, "--input cat.json")


def test_json_that_is_read() -> None:
    assert parse_json(r'{"query": "\ud83d\ude00", "n": [1, null]}', "x") == {"query": "😀", "n": [1, None]}
