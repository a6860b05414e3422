"""Requests that schemathesis makes from an OpenAPI document."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import requests
import schemathesis

from fuzzing.plans import Request

MODES = (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE)
BATCH = 500
"""Requests of an operation that are drawn in one go."""


def coverage(document: dict[str, Any]) -> list[Request]:
    """Return the requests of schemathesis' coverage phase: each bound and keyword of the schemas, kept and broken."""
    schema = schemathesis.openapi.from_dict(document)
    found = []
    for operation in (result.ok() for result in schema.get_all_operations()):
        settings = schema.config.generation_for(operation=operation)
        cases = schema.iter_coverage_cases(operation, generation_modes=list(MODES), generation_config=settings)
        found += [request for case in cases if (request := _request(case))]
    return found


def generated(document: dict[str, Any], count: int, seed: int) -> Iterator[tuple[str, Request]]:
    """Yield requests that the document allows, and others that it does not, by the name of their kind.

    Operations without a body or parameters are left out: there is one request of each.
    """
    schema = schemathesis.openapi.from_dict(document)
    operations = [result.ok() for result in schema.get_all_operations()]
    rounds = [
        (operation, mode)
        for operation in operations
        for mode in MODES
        if operation.body.items or (mode is MODES[0] and "{" in operation.path)
    ]
    each = max(1, -(-count // len(rounds)))
    for start in range(0, each, BATCH):
        for operation, mode in rounds:
            drawn = _drawn(operation, mode, min(BATCH, each - start), seed + start)
            yield from ((mode.value, request) for request in drawn)


def _drawn(operation: Any, mode: Any, count: int, seed: int) -> list[Request]:
    found: list[Request] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def draw(case: Any) -> None:
        request = _request(case)
        if request is not None:
            found.append(request)

    draw()
    return found


def _request(case: Any) -> Request | None:
    """Return the bytes of a case; None for one that no client can write."""
    try:
        made = requests.Request(**case.as_transport_kwargs(base_url="http://localhost")).prepare()
    except (requests.RequestException, ValueError):
        return None
    body = made.body or b""
    headers = {str(name): _text(value) for name, value in made.headers.items() if not name.startswith("X-Schema")}
    return Request(
        str(made.method), str(made.path_url), headers, body.encode() if isinstance(body, str) else bytes(body)
    )


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
