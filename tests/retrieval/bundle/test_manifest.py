"""``manifest.json``: any content opens a bundle, or is refused in one line."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.any_value import QUICK
from helpers.bundles import change_manifest, copied
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.retrieval.bundle.files import MANIFEST
from dssm_lightning.retrieval.bundle.manifest import FORMAT, parse_manifest, read_manifest, write_manifest
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["query.onnx", "../x", "I64", 10**400, -1, 0, 1, "text"]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=4), each, max_size=3),
    max_leaves=6,
)


def refused_or_parsed(content: bytes) -> bool:
    """Whether a content is a manifest; every other one is a UserError of one line."""
    try:
        parse_manifest(content, "manifest.json")
    except UserError as error:
        message = str(error)
    else:
        return True
    assert "manifest.json" in message
    assert "\n" not in message
    return False


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of each value in nested JSON."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in items for place in places(each, (*path, key)))]


def replaced(values: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with another value at a path."""
    if not path:
        return new
    made = copy.deepcopy(values)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return made


def without(values: Any, path: tuple[Any, ...]) -> Any:
    """A copy without the value at a path."""
    made = copy.deepcopy(values)
    inner = made
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return made


@QUICK
@given(JSON)
def test_any_json_is_refused(value: Any) -> None:
    assert not refused_or_parsed(json.dumps(value).encode())


@QUICK
@given(st.binary(max_size=40))
def test_any_bytes_are_refused(content: bytes) -> None:
    assert not refused_or_parsed(content)


@QUICK
@given(data=st.data())
def test_a_manifest_with_a_changed_value_opens_or_is_refused(data: st.DataObject, shop_bundle: Path) -> None:
    values = json.loads((shop_bundle / MANIFEST).read_text(encoding="utf-8"))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(values)))
        new = data.draw(JSON)
        values = replaced(values, path, new) if path else new
        if not isinstance(values, dict):
            break
    refused_or_parsed(json.dumps(values).encode())


def test_a_manifest_without_a_value_is_refused(shop_bundle: Path) -> None:
    values = json.loads((shop_bundle / MANIFEST).read_text(encoding="utf-8"))
    assert refused_or_parsed(json.dumps(values).encode())
    optional = {"source", "versions"}  # of which any keys may be missing
    for path in places(values):
        if path and path[0] not in optional and not isinstance(path[-1], int):
            kept = refused_or_parsed(json.dumps(without(values, path)).encode())
            listed = path[0] == "files" or path[:2] == ("corpus", "columns")
            later = path in {("corpus", "picture_column"), ("blend",)}  # bundles of 0.1.0 do not have them
            assert not kept or later or (listed and len(path) > 1), path


def test_what_is_written_is_read(shop_bundle: Path, tmp_path: Path) -> None:
    manifest = read_manifest(shop_bundle)
    bundle = copied(shop_bundle, tmp_path / "copy")
    assert write_manifest(bundle, manifest) == manifest.files
    assert read_manifest(bundle) == manifest
    assert (bundle / MANIFEST).read_bytes() == (shop_bundle / MANIFEST).read_bytes()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), FORMAT + 1, rf"format {FORMAT + 1} is of a newer release \(.+\).*up to {FORMAT}: update"),
        (("format",), 0, "format is 0"),
        (("format",), "1", "format is '1'"),
        (("format",), True, "format is True"),
        (("format",), None, "format is None"),
        (("corpus", "count"), 1 << 60, f"corpus.count is {1 << 60}.*whole number"),
        (("corpus", "count"), 0, "corpus.count is 0"),
        (("corpus", "width"), 1 << 40, f"corpus.width is {1 << 40}"),
        (("corpus", "width"), True, "corpus.width is True"),
        (("vector_width",), 10**6, "vector_width is 1000000"),
        (("num_indexes",), -1, "num_indexes is -1"),
        (("num_indexes",), 0, "num_indexes is 0.*programs contradict"),
        (("num_indexes",), 2, "num_indexes is 2.*programs contradict"),
        (("indexable",), 1, "indexable"),
        (("corpus", "id_column"), "text", "columns"),
        (("corpus", "display"), ["nothing"], r"\['nothing'\].*not among"),
        (("corpus", "columns", "price"), "money", "unknown kind"),
        (("corpus", "checksums"), [], "0 checksums of 1 indexes"),
        (("corpus", "checksums"), [-1], "checksum"),
        (("programs", "query"), None, "a program is null"),
        (("programs", "query", "file"), "other.onnx", "program 'other.onnx' is not one of the bundle's files"),
        (("programs", "query", "inputs", 0, "dtype"), "object", "unknown type"),
        (("programs", "query", "inputs", 0, "name"), 5, "no name"),
        (("programs", "query", "shape"), [-1, "x"], "shape"),
        (("programs", "query", "difference"), 10**400, "damaged"),
        (("files", "schema.json", "size"), -1, "size or the checksum of 'schema.json'"),
        (("files", "schema.json", "size"), 1.5, "size or the checksum of 'schema.json'"),
        (("files", "schema.json", "sha256"), "abc", "size or the checksum of 'schema.json'"),
        (("query_texts",), "words", "list of texts"),
        (("source",), {"run": 5}, "5 is no text"),
    ],
)
def test_what_is_wrong_is_named(
    path: tuple[Any, ...], value: Any, message: str, shop_bundle: Path, tmp_path: Path
) -> None:
    bundle = copied(shop_bundle, tmp_path / "bundle")
    change_manifest(bundle, lambda values: replaced(values, path, value))
    with pytest.raises(UserError, match=message) as error:
        Retriever.load(bundle)
    assert str(bundle) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"\xff\xfe", "damaged.*Unicode"),
        (b'{"format": 1, "format": 2}', "'format' is given twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": ' + b"[" * 60 + b"]" * 60 + b"}", "nested deeper than 50"),
        (b'{"format": ' + b"9" * 5000 + b"}", "not valid JSON|damaged"),
        (b'{"format": "\\ud800"}', "half of a character"),
        (b"null", "damaged"),
        (b"[]", "damaged"),
        (b" " * ((1 << 24) + 1), "bytes; at most"),
    ],
    ids=["empty", "cut", "no UTF-8", "twice", "deep", "less deep", "digits", "surrogate", "null", "list", "long"],
)
def test_no_json_of_a_manifest(content: bytes, message: str, shop_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(shop_bundle, tmp_path / "bundle")
    (bundle / MANIFEST).write_bytes(content)
    with pytest.raises(UserError, match=message) as error:
        Retriever.load(bundle)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        *("../secret", "/etc/passwd", "a/../../b", "corpus\\rows.jsonl", "C:/x", "C:x", "a//b", "./a", "a/", ""),
        *(".hidden", "a/.git/x", "a\0b", "manifest.json", "README.md", "a\nb", "\u202egnp", "x" * 300, "con|x", "a?"),
    ],
)
def test_names_of_files_that_leave_the_folder(name: str, shop_bundle: Path, tmp_path: Path) -> None:
    bundle = copied(shop_bundle, tmp_path / "bundle")

    def change(values: dict[str, Any]) -> None:
        values["files"][name] = {"size": 0, "sha256": "0" * 64}

    change_manifest(bundle, change)
    with pytest.raises(UserError, match=r"names the file .*leaves the bundle's folder") as error:
        Retriever.load(bundle)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"), [(["x", "X"], "upper and lower case"), (["x", "x/y"], "'x' as a file and as a")]
)
def test_names_that_are_one_file_on_some_systems(
    names: list[str], message: str, shop_bundle: Path, tmp_path: Path
) -> None:
    bundle = copied(shop_bundle, tmp_path / "bundle")
    change_manifest(
        bundle, lambda values: values["files"].update({name: {"size": 0, "sha256": "0" * 64} for name in names})
    )
    with pytest.raises(UserError, match=message):
        Retriever.load(bundle)
