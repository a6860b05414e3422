"""The forms of the answers, for the OpenAPI document. Answers are written without these classes; tests compare them."""

from __future__ import annotations

from typing import Any

import msgspec

from dssm_lightning.serving.requests import Id


class Answer(msgspec.Struct, omit_defaults=True):
    """An answer. A field that is not required is left out where there is nothing to say."""


class Error(Answer):
    """Why a request was refused."""

    error: str
    """One line for a person."""
    error_type: str
    """One word for a program."""


class Truncation(Answer):
    """What a feature did not read of a value."""

    feature: str
    column: str
    kept: int
    total: int
    unit: str
    """What is counted: characters, words, tokens or entries."""


class ReadValue(Answer):
    """A part of a value, and whether the feature knows it; null: it cannot tell."""

    text: str
    known: bool | None


class Reading(Answer):
    """What a value became before the tower saw it."""

    feature: str
    column: str
    kind: str
    unit: str
    values: list[ReadValue]
    kept: int
    total: int
    missing: bool
    truncations: list[Truncation]


class Hit(Answer):
    """A candidate that was found."""

    id: Id
    score: float | None
    display: dict[str, Any]
    """The values of the columns that are shown."""
    picture: str | None = None
    """The address of a small picture, on this server."""


class Candidate(Answer):
    """A candidate that was found by words."""

    id: Id
    display: dict[str, Any]
    picture: str | None = None


class Found(Answer):
    """The answer to one query of a list."""

    hits: list[Hit]
    """Best first."""
    truncated: list[Truncation]
    reading: list[Reading] | None = None


class SearchAnswer(Answer):
    """The answer to one query."""

    hits: list[Hit]
    """Best first."""
    truncated: list[Truncation]
    bundle: str
    reading: list[Reading] | None = None


class SearchAnswers(Answer):
    """The answers to a list of queries, in their order."""

    results: list[Found]
    bundle: str


class EncodeAnswer(Answer):
    """Embeddings, one for each query or candidate, in their order."""

    embeddings: list[list[float]]
    truncated: list[list[Truncation]]
    bundle: str


class SimilarAnswer(Answer):
    """The candidates that are most similar to one; a score is the cosine of two embeddings."""

    hits: list[Hit]
    bundle: str


class PairTruncations(Answer):
    """What was cut off the query, and off each candidate."""

    query: list[Truncation]
    candidates: list[list[Truncation]]


class ScoreAnswer(Answer):
    """The scores of a query with candidates, in their order."""

    scores: list[float | None]
    truncated: PairTruncations
    bundle: str


class CandidatesAnswer(Answer):
    """Candidates whose shown columns contain the words."""

    hits: list[Candidate]
    bundle: str


class Embedding(Answer):
    """One embedding: numbers, or little-endian float32 in base64."""

    object: str
    index: int
    embedding: list[float] | str


class Usage(Answer):
    """Words between spaces of all texts: a bundle has no tokens of its own."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(Answer):
    """Embeddings, as OpenAI writes them, and what was cut off each text."""

    object: str
    data: list[Embedding]
    model: str
    usage: Usage
    truncated: list[list[Truncation]]


class Model(Answer):
    """A tower of a bundle."""

    id: str
    object: str
    created: int
    """When the bundle was written, in seconds since 1970."""
    owned_by: str


class Models(Answer):
    """The towers of all bundles."""

    object: str
    data: list[Model]


class Status(Answer):
    """That the server lives, or is ready."""

    status: str


class ReloadedBundle(Answer):
    """A bundle that is served from now on."""

    name: str
    checksum: str


class ReloadAnswer(Answer):
    """The bundles that are served from now on."""

    bundles: list[ReloadedBundle]
