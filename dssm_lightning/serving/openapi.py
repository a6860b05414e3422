"""The OpenAPI document: addresses, bodies, answers and limits, with examples that the served bundles answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import dssm_lightning
from dssm_lightning.serving.admission import OPEN_PATHS
from dssm_lightning.serving.example_values import Examples
from dssm_lightning.serving.openapi_answers import Error
from dssm_lightning.serving.openapi_bodies import describe_bodies
from dssm_lightning.serving.openapi_operations import JSON, OPERATIONS, Operation
from dssm_lightning.serving.openapi_schemas import Json, schemas_of
from dssm_lightning.serving.served_bundle import ServedBundle
from dssm_lightning.serving.serving import Serving

VERSION = "3.0.3"
_TOKEN = "token"
_MEANINGS = {
    400: "The body is not JSON.",
    401: "The token is missing or wrong.",
    403: "Not possible without a token, or by this name of the server.",
    404: "No such candidate, bundle or model.",
    408: "The body took too long.",
    409: "The bundles cannot be loaded; the old ones are served further.",
    413: "The body or the list is too long.",
    415: "The body is not declared as JSON.",
    422: "A field or a value is not possible.",
    429: "Too many queries wait.",
    503: "The server is loading, stopping or full.",
    504: "The answer took too long.",
}
_RETRY = {"Retry-After": {"description": "Seconds until it is worth another try.", "schema": {"type": "integer"}}}


def openapi_document(serving: Serving, summaries: Mapping[str, str]) -> Json:
    """Return the OpenAPI document of a server.

    Args:
        serving: what is served; its bundles are open.
        summaries: the docstring of each route, by its path.
    """
    kinds: list[Any] = [Error]
    for each in OPERATIONS:
        kinds += [*each.answers, *([] if each.body is None else [each.body])]
    schemas, components = schemas_of(kinds)
    by_kind = list(zip(kinds, schemas, strict=True))
    describe_bodies(components, list(serving.bundles.values()), serving.settings.limits)
    examples = _examples(serving.bundle())
    has_token, name = serving.settings.token is not None, serving.bundle().name
    paths = {
        each.path: {each.method: _operation(each, by_kind, summaries.get(each.path, ""), examples, name, has_token)}
        for each in OPERATIONS
    }
    document: Json = {
        "openapi": VERSION,
        "info": {
            "title": "dssm-lightning",
            "version": dssm_lightning.__version__,
            "description": "Answers of " + ", ".join(f"`{name}`" for name in serving.bundles) + ".",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }
    if has_token:
        document["components"]["securitySchemes"] = {_TOKEN: {"type": "http", "scheme": "bearer"}}
        document["security"] = [{_TOKEN: []}]
    return document


# -- operations --------------------------------------------------------------------------------------------------------


def _operation(
    operation: Operation,
    schemas: list[tuple[Any, Json]],
    text: str,
    examples: Mapping[str, Json],
    bundle: str,
    has_token: bool,
) -> Json:
    def schema_of(kind: Any) -> Json:
        return next(schema for each, schema in schemas if each is kind)

    summary, _, rest = " ".join(text.split()).partition(". ")
    is_open = operation.path in OPEN_PATHS
    found: Json = {
        "operationId": _name_of(operation.path),
        "tags": [operation.tag],
        "summary": summary.rstrip("."),
        "description": rest or summary,
        "responses": {"200": _answer(operation, schema_of)},
    }
    own = set(operation.statuses) | ({401} if has_token and not is_open else set())
    for status in sorted(own):
        found["responses"][str(status)] = _error(status)
    if operation.body is not None:
        content: Json = {"schema": schema_of(operation.body)}
        if examples.get(operation.path):
            content["examples"] = examples[operation.path]
        found["requestBody"] = {"required": True, "content": {JSON: content}}
    parameters = [_parameter(name, bundle) for name in re.findall(r"{(\w+)}", operation.path)]
    if parameters:
        found["parameters"] = parameters
    if has_token and is_open:
        found["security"] = []
    return found


def _answer(operation: Operation, schema_of: Any) -> Json:
    answer: Json = {"description": "The answer."}
    if isinstance(operation.answer, str):
        is_text = operation.answer.startswith("text/")
        answer["content"] = {operation.answer: {"schema": {"type": "string", **({} if is_text else _BINARY)}}}
    else:
        found = [schema_of(kind) for kind in operation.answers]
        answer["content"] = {JSON: {"schema": found[0] if len(found) == 1 else {"anyOf": found}}}
    if operation.path == "/embed":
        cut = "The places of the inputs of which the end was cut off."
        answer["headers"] = {"X-Truncated": {"description": cut, "schema": {"type": "string"}}}
    return answer


_BINARY = {"format": "binary"}


def _error(status: int) -> Json:
    error: Json = {
        "description": _MEANINGS[status],
        "content": {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    return {**error, "headers": _RETRY} if status in (429, 503) else error


def _parameter(name: str, bundle: str) -> Json:
    example = "0" if name == "row" else bundle
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _name_of(path: str) -> str:
    return "_".join(re.findall(r"\w+", path)) or "page"


# -- examples ----------------------------------------------------------------------------------------------------------


def _examples(bundle: ServedBundle) -> dict[str, Json]:
    """Return examples of bodies, by path and name, that the bundle answers."""
    values = Examples(bundle.retriever)
    query, candidate, k = values.query(), values.candidate(), min(5, len(bundle.retriever))
    bodies: dict[str, Json] = {
        "/similar": {"similar": {"id": values.id, "k": min(k, max(1, len(bundle.retriever) - 1))}},
        "/candidates": {"words": {"text": values.words(), "k": k}},
    }
    if query is not None:
        bodies["/search"] = {
            "one query": {"query": query, "k": k},
            "several queries": {"query": [query, query], "k": k},
            "with a filter": {"query": query, "k": k, "filter": values.filter},
            "with what the model reads": {"query": query, "k": k, "explain": True},
        }
        bodies["/encode"] = {"queries": {"query": [query]}}
        if isinstance(query, str):
            bodies["/embed"] = {"texts": {"inputs": [query]}}
            bodies["/v1/embeddings"] = {"texts": {"input": [query], "model": bundle.name}}
    if candidate is not None:
        bodies.setdefault("/encode", {})["candidates"] = {"candidate": [candidate]}
    if query is not None and candidate is not None:
        bodies["/score"] = {"a pair": {"query": query, "candidates": [candidate]}}
    return {
        path: {name: {"summary": name, "value": body} for name, body in examples.items()}
        for path, examples in bodies.items()
    }
