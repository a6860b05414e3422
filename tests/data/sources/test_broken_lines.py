"""A line that cannot be read is named, with its file and a remedy."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from dssm_lightning.data.sources import Files
from dssm_lightning.utils import memory_mapped

CSV = "query_id,candidate_id,x\n1,2,a\n"
LINE = '{"query_id": 1, "candidate_id": 2}\n'


def refused(path: Path, content: str, message: str) -> None:
    for packed in (False, True):
        file = path.with_name(path.name + ".gz") if packed else path
        file.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
        with pytest.raises(ValueError, match=message) as caught:
            Files(str(file)).tables()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("lines", "number"),
    [
        ('1,3,"b\n1,4,c\n', 3),  # not closed
        ('1,3,"b\n1,4,c\n1,5,"d"\n', 3),
        ('1,3,"b\nc"\n1,4,5" disk\n', 5),
        ('1,3,"b" c\n', 3),
        ('1,3,b"\n', 3),
    ],
)
def test_quotation_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, number: int, large: bool) -> None:
    monkeypatch.setattr(memory_mapped, "LARGE_FILE", 0 if large else 1 << 26)
    refused(
        tmp_path / "e.csv", CSV + lines, rf"interactions: line {number} of .*e\.csv\S* has a quotation mark.*`quote"
    )


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query_id": 1, "candidate_id": NaN}', "NaN is no JSON; write null"),
        ('{"query_id": 1, "candidate_id": -Infinity}', "-Infinity is no JSON"),
        ('{"query_id": 1, "candi', "cannot be read as JSON Lines: .*at character 17.*correct or remove"),
        ('{"query_id": 1} x', "Extra data"),
        ("[1, 2]", "holds a list, not an object"),
        ('[{"query_id": 1},', "a list begins here"),
        ("7", "holds a number, not an object"),
        ('{"query_id": 1' + "0" * 50 + "}", "column 'query_id' has a number beyond 128 bits; write it as text"),
        ('{"query_id": 1e400}', "column 'query_id' has a number beyond 128 bits"),
        ('{"a":' * 5000, "nested too deeply|cannot be read"),
    ],
)
def test_lines_of_json(tmp_path: Path, line: str, message: str) -> None:
    refused(tmp_path / "e.jsonl", f"{LINE}\n{line}\n{LINE}", rf"interactions: line 3 of .*e\.jsonl\S* .*{message}")


def test_lists_beside_texts_are_not_read_as_texts(tmp_path: Path) -> None:
    """Polars makes the text '["a", "b"]' of the list."""
    first, second = (LINE.replace("}", f', "tags": {tags}}}') for tags in ('"a"', '["a", "b"]'))
    refused(tmp_path / "e.jsonl", first + second, "column 'tags' of .* a text in line 1 and a list in line 2")
    refused(tmp_path / "e.jsonl", first + second.replace('["a", "b"]', '{"a": 1}'), "line 1 and an object in line 2")
    refused(tmp_path / "e.jsonl", first.replace('"a"', "true") + second, "a truth value in line 1 and a list in line 2")


def test_a_text_may_look_like_a_list(tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_text(LINE.replace("}", ', "x": "[1] a"}') + LINE.replace("}", ', "x": "[\\"b\\"]"}'))
    assert Files(str(tmp_path / "e.jsonl")).tables().interactions["x"].to_list() == ["[1] a", '["b"]']


@pytest.mark.parametrize("name", ["e.csv.gz", "e.jsonl.gz"])
def test_packed_files_that_are_cut_off(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress((CSV if "csv" in name else LINE).encode() * 999)[:-12])
    with pytest.raises(ValueError, match=rf"interactions: .*{name} cannot be read as"):
        Files(str(tmp_path / name)).tables()


def test_a_file_that_is_not_packed_may_be_named_so(tmp_path: Path) -> None:
    (tmp_path / "e.csv.gz").write_text(CSV)
    assert Files(str(tmp_path / "e.csv.gz")).tables().interactions.rows() == [(1, 2, "a")]
