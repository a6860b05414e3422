"""What clients may send: the bodies of requests, read strictly."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from dssm_lightning.serving.errors import RequestError
from dssm_lightning.utils.suggestions import did_you_mean

Id = str | int | float | bool
"""The id of a candidate."""
Record = str | dict[str, Any]
"""A query or a candidate: values by column name, or a bare text where the model reads one column."""
LARGE = 1 << 16
"""Bytes from which a body is read in a thread, since that takes more than a millisecond."""
BodyT = TypeVar("BodyT", bound="Body")


class Body(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The body of a request: a JSON object. A field that it does not have is refused."""


class SearchBody(Body, frozen=True):
    """``POST /search``."""

    query: Record | list[Record]
    """One query, or a list of queries."""
    k: int | None = None
    """Number of answers of each query; null = 10, or all candidates if there are fewer."""
    filter: str | None = None
    """A condition on the candidates' columns, such as ``year > 1990``."""
    exclude: list[Id] = []
    """Ids of candidates that are left out."""
    exclude_history: bool = False
    """Leave out the candidates in each query's own history."""
    hybrid: float | bool | None = None
    """true = blend the scores with BM25's as the bundle says; a number = the weight of BM25's list in a fusion of the
    ranks; null = the model alone."""
    diversity: float = 0.0
    """0 = the best scores; up to 1, answers that differ more from each other, chosen among the best ones."""
    explain: bool = False
    """Tell what the model reads of each query."""
    bundle: str | None = None
    """Name of the bundle; null = the first."""


class EncodeBody(Body, frozen=True):
    """``POST /encode``: exactly one of ``query`` and ``candidate``."""

    query: Record | list[Record] | None = None
    """One query, or a list of queries."""
    candidate: Record | list[Record] | None = None
    """One candidate, or a list of candidates."""
    bundle: str | None = None
    """Name of the bundle; null = the first."""


class SimilarBody(Body, frozen=True):
    """``POST /similar``."""

    id: Id
    """Id of the candidate to which others are similar."""
    k: int | None = None
    """Number of answers; null = 10, or all other candidates if there are fewer."""
    exclude: list[Id] = []
    """Ids of candidates that are left out."""
    filter: str | None = None
    """A condition on the candidates' columns, such as ``year > 1990``."""
    bundle: str | None = None
    """Name of the bundle; null = the first."""


class ScoreBody(Body, frozen=True):
    """``POST /score``."""

    query: Record
    """One query."""
    candidates: Record | list[Record]
    """One candidate, or a list of candidates, which need not be in the corpus."""
    bundle: str | None = None
    """Name of the bundle; null = the first."""


class CandidatesBody(Body, frozen=True):
    """``POST /candidates``."""

    text: str
    """Words that the shown columns of a candidate contain."""
    k: int | None = None
    """Number of candidates; null = 20."""
    bundle: str | None = None
    """Name of the bundle; null = the first."""


_DECODERS: dict[type[Body], msgspec.json.Decoder[Any]] = {}


async def read_body(request: Request, kind: type[BodyT], most: int) -> BodyT:
    """Read the body of a request.

    Args:
        request: with a body of JSON.
        kind: what the body has to be.
        most: bytes that it may have.

    Raises:
        RequestError: 415 another content type; 413 too many bytes; 400 malformed JSON, or a name that an object has
            twice; 422 an unknown field, or a value of another type.
    """
    content_type = request.headers.get("content-type", "")
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, f"Content-Type is {content_type!r}; it must be application/json")
    content = await _content(request, most)
    if len(content) < LARGE:
        return decode(content, kind)
    return await asyncio.to_thread(decode, content, kind)


async def _content(request: Request, most: int) -> bytes:
    parts, size, more = [], 0, True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise RequestError(413, f"the body has more than {most:,} bytes", headers={"Connection": "close"})
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def decode(content: bytes, kind: type[BodyT]) -> BodyT:
    """Return the body that some bytes are.

    Raises:
        RequestError: as for :func:`read_body`.

    Example:
        >>> decode(b'{"query": "red shoes", "k": 3}', SearchBody).k
        3
        >>> decode(b'{"query": "red shoes", "kk": 3}', SearchBody)
        Traceback (most recent call last):
        ...
        dssm_lightning.serving.errors.RequestError: the body has the unknown field 'kk'; fields are bundle, diversity, \
exclude, exclude_history, explain, filter, hybrid, k, query; did you mean 'k'?
    """
    decoder = _DECODERS.get(kind)
    if decoder is None:
        decoder = _DECODERS[kind] = msgspec.json.Decoder(kind)
    try:
        body: BodyT = decoder.decode(content)
        _REPEATS.decode(content.decode())
    except msgspec.ValidationError as error:
        raise RequestError(422, _explained(str(error), kind)) from error
    except RecursionError as error:
        raise RequestError(400, "the body is nested too deeply") from error
    except ValueError as error:  # also msgspec.DecodeError, and text that is not UTF-8
        what = "empty" if not content.strip() else "not valid JSON in UTF-8"
        raise RequestError(400, f"the body is {what}: {error}") from error
    return body


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    """Refuse an object that has a name twice: readers differ in which of the values counts."""
    if len(dict(pairs)) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"an object has the name {twice[:60]!r} twice")


_REPEATS = json.JSONDecoder(object_pairs_hook=_distinct)


def _explained(message: str, kind: type[Body]) -> str:
    start = "Object contains unknown field `"
    if message.startswith(start):
        name = message[len(start) :].rpartition("`")[0][:100]
        fields = sorted(kind.__struct_fields__)
        return f"the body has the unknown field {name!r}; fields are {', '.join(fields)}{did_you_mean(name, fields)}"
    return f"the body is of another form: {message}"
