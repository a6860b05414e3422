"""The mix of plans: what schemathesis made, once each, and then what is drawn from it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fuzzing import wire_shapes
from fuzzing.addresses import odd_address
from fuzzing.mutations import changed
from fuzzing.odd_values import OddBodies
from fuzzing.openapi_requests import coverage, generated
from fuzzing.plans import Plan, Request, ask, post

LARGEST = 8_000
"""Bytes of a request that others are made from."""
KINDS = ("schemathesis, coverage", "schemathesis, positive", "schemathesis, negative")
_SHARES: tuple[tuple[Callable[[random.Random, Sequence[Request]], Plan], float], ...] = (
    (wire_shapes.mutated, 14),
    (wire_shapes.cut, 9),
    (wire_shapes.pipelined, 1.5),  # of about a dozen requests each
    (wire_shapes.badly_chunked, 5),
    (wire_shapes.smuggled, 5),
    (wire_shapes.strange, 3),
    (wire_shapes.oversized, 1),
    (wire_shapes.slow, 0.6),
    (wire_shapes.dropped, 1.5),
)
BODIES, VALUES, ADDRESSES = 22.0, 22.0, 10.0


Corpus = list[tuple[str, Request]]
"""What schemathesis made, by kind."""


def make_corpus(document: dict[str, Any], count: int, seed: int) -> Corpus:
    """Let schemathesis make at least ``count`` requests."""
    requests = [(KINDS[0], request) for request in coverage(document)]
    named = dict(zip(("positive", "negative"), KINDS[1:], strict=True))
    missing = count - len(requests)
    if missing > 0:
        requests += [(named[mode], request) for mode, request in generated(document, missing, seed)]
    return requests


class Mix:
    """Draws plans.

    Args:
        document: of OpenAPI.
        info: what ``GET /info`` says.
        bodies: examples that the bundles answer, by their paths.
        corpus: what schemathesis made of the document.
        headers: that each well-formed request has, unless it has others of these names.
        reloads: share of requests that let the server open its bundles anew.
    """

    def __init__(
        self,
        document: dict[str, Any],
        info: dict[str, Any],
        bodies: list[tuple[str, Any]],
        corpus: Corpus,
        headers: Mapping[str, str] = MappingProxyType({}),
        reloads: float = 0.0,
    ) -> None:
        columns = sorted({column for bundle in info["bundles"] for column in bundle["columns"]})
        self._bodies, self._names = OddBodies(document, bodies, columns), [bundle["name"] for bundle in info["bundles"]]
        self._headers, self._reloads = headers, reloads
        queries = [body["query"] for path, body in bodies if path == "/search"]
        empty = [dict.fromkeys(query) if isinstance(query, dict) else "" for query in queries]
        self._empty = [post("/search", json.dumps({"query": query}).encode()) for query in empty]
        self._made = [(kind, self._with_headers(request)) for kind, request in corpus]
        self._corpus = [request for _, request in self._made if len(request.body) <= LARGEST]

    def _with_headers(self, request: Request) -> Request:
        return request._replace(headers={**self._headers, **request.headers})

    def warming_plans(self, count: int, seed: int) -> Iterator[Plan]:
        """Yield plans after which a server has mapped its weights, and has opened all that it opens."""
        draw = random.Random(seed)
        for request in self._empty:  # Polars, which is loaded once, looks for the empty row
            yield ask("empty queries", self._with_headers(request))
        yield from (ask("long texts", self._with_headers(self._bodies.long(draw))) for _ in range(count // 20))
        yield from self.plans(count, seed)

    def all_plans(self, count: int, seed: int) -> Iterator[Plan]:
        """Yield each request of schemathesis once, and then others."""
        yield from (ask(kind, request) for kind, request in self._made)
        yield from self.plans(count - len(self._made), seed)

    def plans(self, count: int, seed: int) -> Iterator[Plan]:
        """Yield plans of at least ``count`` requests."""
        draw, sent = random.Random(seed), 0
        makers = [self._body, self._value, self._address, *(maker for maker, _ in _SHARES)]
        shares = [BODIES, VALUES, ADDRESSES, *(share for _, share in _SHARES)]
        reload = ask("reloads", self._with_headers(post("/reload", b"")))
        while sent < count:
            is_reload = draw.random() < self._reloads
            plan = reload if is_reload else draw.choices(makers, shares)[0](draw, self._corpus)
            sent += plan.requests
            yield plan

    def _body(self, draw: random.Random, corpus: Sequence[Request]) -> Plan:
        request = draw.choice(corpus)
        return ask("bodies with changed bytes", request._replace(body=changed(draw, request.body)))

    def _value(self, draw: random.Random, corpus: Sequence[Request]) -> Plan:
        return ask("odd values in examples", self._with_headers(self._bodies.draw(draw)))

    def _address(self, draw: random.Random, corpus: Sequence[Request]) -> Plan:
        return ask("odd addresses, headers", self._with_headers(odd_address(draw, draw.choice(self._names))))
