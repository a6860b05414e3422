"""What each address takes and answers, for the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dssm_lightning.serving import openapi_answers as answers
from dssm_lightning.serving import requests
from dssm_lightning.serving.routes.embeddings import EmbedBody, EmbeddingsBody

JSON, TEXT = "application/json", "text/plain"


@dataclass(frozen=True)
class Operation:
    """A method of an address.

    Attributes:
        path: as its route declares it.
        tag: the group in which it is shown.
        body: the type of the body; None = no body.
        answer: the type of the answer, or several; a text is its content type.
        statuses: of errors, beside those that every operation has.
    """

    path: str
    tag: str
    body: Any = None
    answer: Any = dict
    statuses: tuple[int, ...] = ()

    @property
    def answers(self) -> tuple[Any, ...]:
        """The types of the answers; none for one that is not JSON."""
        if isinstance(self.answer, str):
            return ()
        return self.answer if isinstance(self.answer, tuple) else (self.answer,)

    @property
    def method(self) -> str:
        """The method of HTTP."""
        return "post" if self.body is not None or self.path == "/reload" else "get"


ASKING = (400, 404, 408, 413, 415, 422, 429, 503, 504)
"""Statuses of errors of questions."""
_SEARCH, _CLIENTS, _OPERATORS = "search", "other clients", "operation"
OPERATIONS = (
    Operation("/search", _SEARCH, requests.SearchBody, (answers.SearchAnswer, answers.SearchAnswers), ASKING),
    Operation("/similar", _SEARCH, requests.SimilarBody, answers.SimilarAnswer, ASKING),
    Operation("/candidates", _SEARCH, requests.CandidatesBody, answers.CandidatesAnswer, ASKING),
    Operation("/encode", _SEARCH, requests.EncodeBody, answers.EncodeAnswer, ASKING),
    Operation("/score", _SEARCH, requests.ScoreBody, answers.ScoreAnswer, ASKING),
    Operation("/pictures/{bundle}/{row}", _SEARCH, None, "image/*", (404,)),
    Operation("/embed", _CLIENTS, EmbedBody, list[list[float]], ASKING),
    Operation("/v1/embeddings", _CLIENTS, EmbeddingsBody, answers.EmbeddingsAnswer, ASKING),
    Operation("/v1/models", _CLIENTS, None, answers.Models),
    Operation("/v1/models/{model}", _CLIENTS, None, answers.Model, (404,)),
    Operation("/health", _OPERATORS, None, answers.Status),
    Operation("/ready", _OPERATORS, None, answers.Status, (503,)),
    Operation("/info", _OPERATORS, None, dict[str, Any], (503,)),
    Operation("/metrics", _OPERATORS, None, TEXT),
    Operation("/reload", _OPERATORS, None, answers.ReloadAnswer, (403, 409)),
)
