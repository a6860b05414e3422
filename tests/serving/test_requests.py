"""Bodies are read strictly: whatever the bytes are, there is a body or one line with a status of 4xx."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from helpers.any_value import QUICK, TEXTS
from hypothesis import given
from hypothesis import strategies as st

from dssm_lightning.serving import requests
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.requests import Body, SearchBody, decode

KINDS = [each for each in vars(requests).values() if isinstance(each, type) and issubclass(each, Body) and each != Body]
NUMBERS = st.one_of(st.integers(), st.floats(), st.sampled_from([10**30, -(10**400), 1e308]))
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS, st.sampled_from(["\ud800", "a" * 50]))
VALUES = st.recursive(
    SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3), max_leaves=6
)


def status_of(content: bytes, kind: type[Body]) -> int:
    try:
        decode(content, kind)
    except RequestError as error:
        refused = error
    else:
        return 200
    assert refused.message.encode()
    assert "\n" not in refused.message
    return refused.status


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@QUICK
@given(data=st.data())
def test_any_value_of_any_field_is_read_or_refused(kind: type[Body], data: st.DataObject) -> None:
    names = st.sampled_from([*kind.__struct_fields__, "unknown"])
    body = data.draw(st.dictionaries(names, VALUES, max_size=4))
    assert status_of(json.dumps(body).encode(), kind) in (200, 400, 422)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@QUICK
@given(content=st.binary(max_size=40))
def test_any_bytes_are_refused(kind: type[Body], content: bytes) -> None:
    assert status_of(content, kind) in (400, 422)


@pytest.mark.parametrize(
    ("content", "status", "found"),
    [
        (b"", 400, "empty"),
        (b" \n", 400, "empty"),
        (b"\xff", 400, "JSON in UTF-8"),
        (b'{"query": "\xff"}', 400, "UTF-8"),
        (b'\xef\xbb\xbf{"query": "a"}', 400, "JSON"),
        (b'{"query": "a"', 400, "JSON"),
        (b'{"query": "a"} x', 400, "trailing"),
        (b'{"query": "\\ud800"}', 400, "JSON"),
        (b'{"query": {"a": NaN}}', 400, "JSON"),
        (b'{"query": {"a": Infinity}}', 400, "JSON"),
        (b'{"query": "a", "query": "b"}', 400, "'query' twice"),
        (b'{"query": {"a": [{"b": 1, "b": 1}]}}', 400, "'b' twice"),
        (b'{"query": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", 400, "nested"),
        (b'{"query": {"a": ' + b"9" * 5_000 + b"}}", 422, "out of range"),
        (b'{"query": {"a": 1e999}}', 422, "out of range"),
        (b"[]", 422, "object"),
        (b'"a"', 422, "object"),
        (b"{}", 422, "query"),
        (b'{"query": null}', 422, "query"),
        (b'{"query": 7}', 422, "query"),
        (b'{"query": ["a", 7]}', 422, r"query\[1\]"),
        (b'{"query": "a", "k": "3"}', 422, r"\$\.k"),
        (b'{"query": "a", "k": 3.0}', 422, r"\$\.k"),
        (b'{"query": "a", "k": true}', 422, r"\$\.k"),
        (b'{"query": "a", "k": [3]}', 422, r"\$\.k"),
        (b'{"query": "a", "exclude": "b"}', 422, r"\$\.exclude"),
        (b'{"query": "a", "exclude": [null]}', 422, r"\$\.exclude"),
        (b'{"query": "a", "explain": 1}', 422, r"\$\.explain"),
        (b'{"query": "a", "filtre": "x"}', 422, "'filtre'.*did you mean 'filter'"),
        (b'{"query": "a", "' + b"x" * 60_000 + b'": 1}', 422, "unknown field 'x"),
    ],
    ids=lambda value: value.decode("latin-1")[:40] if isinstance(value, bytes) else None,
)
def test_what_is_wrong_is_said(content: bytes, status: int, found: str) -> None:
    with pytest.raises(RequestError, match=found) as error:
        decode(content, SearchBody)
    assert error.value.status == status


def test_many_names_are_compared_in_time() -> None:
    content = json.dumps({"query": {str(number): 0 for number in range(50_000)}}).encode()[:-2] + b',"49999":1}}'
    with pytest.raises(RequestError, match="'49999' twice"):
        decode(content, SearchBody)


def test_defaults_are_those_of_the_retriever() -> None:
    body = decode(b'{"query": {"a": 99999999999999999999999}}', SearchBody)
    assert body.query == {"a": 99999999999999999999999}
    assert (body.k, body.filter, body.exclude, body.exclude_history, body.hybrid) == (None, None, [], False, None)


def test_every_field_has_a_default_or_is_needed() -> None:
    for kind in KINDS:
        values: dict[str, Any] = {each.name: each.default for each in msgspec.structs.fields(kind)}
        assert "bundle" in values
        assert values["bundle"] is None
