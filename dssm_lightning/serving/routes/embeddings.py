"""Embeddings of texts, as clients of other servers ask for them.

``POST /embed`` is that of text-embeddings-inference (TEI) by Hugging Face; ``POST /v1/embeddings`` and
``GET /v1/models`` are those of OpenAI. ``POST /encode`` also takes queries and candidates of several columns.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from dssm_lightning.retrieval.bundle.files import MANIFEST
from dssm_lightning.retrieval.towers import Floats, Side
from dssm_lightning.serving.answers import json_later, json_response
from dssm_lightning.serving.errors import RequestError, refusing_values
from dssm_lightning.serving.requests import Body, read_body
from dssm_lightning.serving.routes.checks import as_list
from dssm_lightning.serving.routes.encode import embedded
from dssm_lightning.serving.served_bundle import ServedBundle
from dssm_lightning.serving.serving import Serving, serving_of
from dssm_lightning.serving.settings import Limits
from dssm_lightning.utils.errors import require_choice

Texts = str | list[str | int | list[int]]
"""Tokens are read, too, so that they are refused by a message of their own."""
SIDES: tuple[Side, ...] = ("query", "candidate")
TRUNCATED = "X-Truncated"
"""The header of ``/embed`` that has the places of the inputs that were cut off, since its answer is a bare list."""


class EmbedBody(Body, frozen=True):
    """``POST /embed``, as text-embeddings-inference has it."""

    inputs: Texts
    """One text, or a list of texts."""
    truncate: bool | None = None
    """Allow that the end of a text is cut off; otherwise such a text is refused with 413."""
    truncation_direction: str | None = None
    """"right": features cut off the end of a text."""
    normalize: bool | None = None
    """true: scale each embedding to length 1. Otherwise it is the model's own, as searches use it."""
    prompt_name: str | None = None
    """"query" (the default) or "candidate": which tower reads the texts."""
    dimensions: int | None = None
    """The width of the embeddings; no other one is possible."""


class EmbeddingsBody(Body, frozen=True):
    """``POST /v1/embeddings``, as OpenAI has it."""

    input: Texts
    """One text, or a list of texts."""
    model: str
    """Name of a bundle, or ``name:candidate`` for the tower that reads candidates."""
    encoding_format: str = "float"
    """"float", or "base64": little-endian float32."""
    dimensions: int | None = None
    """The width of the embeddings; no other one is possible."""
    user: str | None = None
    """Not used."""


class Embedded(NamedTuple):
    """The embeddings (B, D) of B texts, and what the features cut off each."""

    rows: Floats
    truncated: list[list[dict[str, Any]]]


async def embed(request: Request) -> Response:
    """Embed one text or a list of texts: TEI's `/embed`.

    The answer is a list of embeddings. The header `X-Truncated` has the places of the inputs that were cut off.
    """
    serving = serving_of(request)
    body = await read_body(request, EmbedBody, serving.settings.limits.max_body)
    with refusing_values():
        require_choice("embed", "prompt_name", body.prompt_name or "query", SIDES)
        require_choice("embed", "truncation_direction", (body.truncation_direction or "right").lower(), ["right"])
    side: Side = "candidate" if body.prompt_name == "candidate" else "query"
    bundle = serving.bundle()
    _require_width(body.dimensions, bundle)
    found = await _embedded(serving, bundle, side, _texts(body.inputs, "inputs", serving.settings.limits))
    cut = [place for place, truncations in enumerate(found.truncated) if truncations]
    if cut and not body.truncate:
        first = found.truncated[cut[0]][0]
        raise RequestError(
            413,
            f"inputs[{cut[0]}] is too long: feature {first['feature']!r} reads {first['kept']:,} of {first['total']:,} "
            f"{first['unit']}; `truncate: true` allows that",
        )
    rows = _scaled(found.rows) if body.normalize else found.rows
    answer = await json_later(rows.tolist, rows.size)
    if cut:
        answer.headers[TRUNCATED] = ",".join(map(str, cut))
    return answer


async def openai_embeddings(request: Request) -> Response:
    """Embed one text or a list of texts: OpenAI's `/v1/embeddings`.

    `usage` counts words between spaces, since a bundle has no tokens of its own. `truncated` says what was cut off.
    """
    serving = serving_of(request)
    body = await read_body(request, EmbeddingsBody, serving.settings.limits.max_body)
    with refusing_values():
        require_choice("embeddings", "encoding_format", body.encoding_format, ("float", "base64"))
    bundle, side = _model(serving, body.model)
    _require_width(body.dimensions, bundle)
    texts = _texts(body.input, "input", serving.settings.limits)
    found = await _embedded(serving, bundle, side, texts)
    words = sum(len(text.split()) for text in texts)

    def answer() -> dict[str, Any]:
        rows = found.rows.tolist() if body.encoding_format == "float" else [_base64(row) for row in found.rows]
        data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
        usage = {"prompt_tokens": words, "total_tokens": words}
        return {
            "object": "list",
            "data": data,
            "model": body.model,
            "usage": usage,
            "truncated": found.truncated,
        }

    return await json_later(answer, found.rows.size)


async def list_models(request: Request) -> Response:
    """List the models that `/v1/embeddings` knows: two for each bundle."""
    serving = serving_of(request)
    serving.bundle()
    names = [name for bundle in serving.bundles for name in (bundle, f"{bundle}:candidate")]
    return json_response({"object": "list", "data": [_described(serving, name) for name in names]})


async def show_model(request: Request) -> Response:
    """Describe one model of `/v1/embeddings`."""
    serving = serving_of(request)
    return json_response(_described(serving, request.path_params["model"]))


# -- models ------------------------------------------------------------------------------------------------------------


def _model(serving: Serving, name: str) -> tuple[ServedBundle, Side]:
    """Return what the name of a model stands for.

    Raises:
        RequestError: 404 no such bundle, or no such side.
    """
    bundle, separator, side = name.partition(":")
    if separator and side not in SIDES:
        raise RequestError(404, f"there is no model {name[:100]!r}; give the name of a bundle, or name:candidate")
    return serving.bundle(bundle), "candidate" if side == "candidate" else "query"


def _described(serving: Serving, name: str) -> dict[str, Any]:
    bundle, _ = _model(serving, name)
    return {"id": name, "object": "model", "created": _written_at(bundle), "owned_by": "dssm-lightning"}


def _written_at(bundle: ServedBundle) -> int:
    """Return when the bundle was written, in seconds since 1970; 0 if that is unknown."""
    try:
        return int((Path(bundle.retriever.folder or "") / MANIFEST).stat().st_mtime)
    except OSError:
        return 0


def _require_width(dimensions: int | None, bundle: ServedBundle) -> None:
    width = bundle.manifest.corpus.width
    if dimensions not in (None, width):
        raise RequestError(422, f"dimensions is {str(dimensions)[:40]}; the embeddings have {width}, and are never cut")


# -- texts and embeddings ----------------------------------------------------------------------------------------------


def _texts(value: Texts, field: str, limits: Limits) -> list[str]:
    several: list[Any] = [value] if isinstance(value, str) else value
    values: list[Any] = as_list(several, field, limits)
    texts = [each for each in values if isinstance(each, str)]
    if len(texts) < len(values):
        raise RequestError(
            422, f"{field} holds tokens (numbers); give texts, since the model splits texts into words itself"
        )
    return texts


async def _embedded(serving: Serving, bundle: ServedBundle, side: Side, texts: list[str]) -> Embedded:
    """Embed texts, together with those of other requests."""
    columns = bundle.reader(side).columns
    if len(columns) > 1:
        raise RequestError(
            422,
            f"a {side} of bundle {bundle.name!r} has the columns {columns}, and a text is only one value: use POST "
            "/encode",
        )
    results = await embedded(serving, bundle, side, texts)
    return Embedded(np.stack([row for row, _ in results]), [truncations for _, truncations in results])


def _scaled(rows: Floats) -> Floats:
    """Return embeddings (B, D) of length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    scaled: Floats = rows / np.where(lengths > 0, lengths, np.float32(1))
    return scaled


def _base64(row: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(row, "<f4").tobytes()).decode()
