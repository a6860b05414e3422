"""Small synthetic data with known relations, for tests and first steps."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dssm_lightning.data.sources.base import Source
from dssm_lightning.data.tables.column_roles import ColumnRoles
from dssm_lightning.data.tables.tables import RawTables
from dssm_lightning.utils.errors import UserError, require_at_least

VERSION = 1
"""Raise when the same arguments would give other tables."""
TOPIC_SIZE = 10
EPOCH = datetime(2024, 1, 1)
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


class Synthetic(Source):
    """Make queries and candidates with hidden topics; a query likes candidates of its own topic only.

    There is one topic for ten candidates. Each column except the ids depends on the topic, mostly with noise, and so do
    the candidates that a query liked before. A model can therefore learn from any single feature, and a trained model
    finds all candidates of a topic: recall@10 is close to 1, also for held-out queries.

    - queries and candidates: ``query_id`` or ``candidate_id`` (text), ``group`` (category), ``tags`` (list of text),
      ``size`` (number), ``text`` (words that both sides use), ``picture`` (PNG bytes, 8 × 8), ``vector`` (8 floats, of
      another space on each side), ``created`` (datetime).
    - interactions: the ids, ``time`` (seconds, distinct within a query), ``device`` (a category that varies by event),
      ``weight`` (0.5 to 2), ``negatives`` (list of four candidate ids of other topics), and, if requested, ``label``.

    Args:
        num_queries: number of rows of the query table.
        num_candidates: number of rows of the corpus.
        seed: seed of all random numbers.
        labels: whether to add a label column, and for each liked candidate another one that was shown and not liked.
        weights: whether ``weight`` is the weight column.
        likes: number of liked candidates of each query.

    Raises:
        UserError: no query, fewer than two topics, more candidates than there are words for their topics, or more likes
            than a topic has candidates.

    Example:
        >>> tables = Synthetic(num_queries=50, num_candidates=120, likes=4).tables()
        >>> len(tables.queries), len(tables.candidates), len(tables.interactions)
        (50, 120, 200)
    """

    def __init__(
        self,
        num_queries: int = 200,
        num_candidates: int = 300,
        seed: int = 0,
        labels: bool = False,
        weights: bool = False,
        likes: int = 6,
    ) -> None:
        require_at_least("Synthetic", "num_queries", num_queries)
        require_at_least("Synthetic", "num_candidates", num_candidates, 2 * TOPIC_SIZE, hint="two topics")
        most = len(SYLLABLES) ** 2 // 6 * TOPIC_SIZE + TOPIC_SIZE - 1  # six words for each topic
        if num_candidates > most:
            raise UserError(f"Synthetic: num_candidates is {num_candidates}; it must be at most {most}")
        if not 1 <= likes <= TOPIC_SIZE:
            raise UserError(f"Synthetic: likes is {likes}; it must be between 1 and {TOPIC_SIZE}, the size of a topic")
        self.num_queries, self.num_candidates, self.seed = num_queries, num_candidates, seed
        self.labels, self.weights, self.likes = labels, weights, likes

    def tables(self) -> RawTables:
        """Make the tables; they are the same at every call."""
        rng = np.random.default_rng(self.seed)
        num_topics = self.num_candidates // TOPIC_SIZE
        vocabulary = rng.permutation([a + b for a in SYLLABLES for b in SYLLABLES])[: 6 * num_topics]
        query_topic = rng.permutation(np.arange(self.num_queries) % num_topics)
        candidate_topic = rng.permutation(np.arange(self.num_candidates) % num_topics)
        queries = _side("query_id", query_topic, vocabulary, rng)
        candidates = _side("candidate_id", candidate_topic, vocabulary, rng)
        interactions = self._interactions(query_topic, candidate_topic, rng)
        label, weight = "label" if self.labels else None, "weight" if self.weights else None
        return RawTables(
            interactions, queries, candidates, ColumnRoles(label=label, weight=weight, time="time"), ("text",)
        )

    def fingerprint(self) -> str:
        """Return a hash of the arguments."""
        return self._digest(VERSION)

    def _interactions(
        self, query_topic: NDArray[np.int64], candidate_topic: NDArray[np.int64], rng: np.random.Generator
    ) -> pl.DataFrame:
        own = query_topic[:, None] == candidate_topic  # (Q, N)
        chance = rng.random(own.shape)
        others = np.argsort(chance + own, axis=1)  # (Q, N) candidates of other topics first
        liked = np.argsort(chance - own, axis=1)[:, : self.likes]  # (Q, likes)
        shown = others[:, : self.likes if self.labels else 0]
        candidate = np.concatenate([liked, shown], axis=1)  # (Q, events)
        order = np.argsort(rng.random(candidate.shape), axis=1)
        Q, events = candidate.shape
        R = Q * events
        drawn = rng.integers(self.num_candidates - own.sum(1, keepdims=True), size=(Q, events * 4))
        frame = pl.DataFrame(
            {
                "query_id": _ids("q", np.arange(Q).repeat(events)),
                "candidate_id": _ids("c", np.take_along_axis(candidate, order, 1).ravel()),
                "time": np.cumsum(rng.integers(1, 3600, size=(Q, events)), axis=1).ravel(),
                "device": np.array(["phone", "tablet", "desk"])[rng.integers(3, size=R)],
                "weight": rng.uniform(0.5, 2, size=R).astype(np.float32),
                "negatives": _ids("c", np.take_along_axis(others, drawn, 1).ravel()).reshape((R, 4)).arr.to_list(),
            }
        )
        return frame.with_columns(label=pl.Series((order < self.likes).ravel()).cast(pl.Int8)) if self.labels else frame


def _ids(letter: str, numbers: NDArray[np.int64]) -> pl.Series:
    ids: pl.Series = letter + pl.Series(numbers).cast(pl.String)
    return ids


def _side(key: str, topic: NDArray[np.int64], vocabulary: NDArray[np.str_], rng: np.random.Generator) -> pl.DataFrame:
    """Make the columns of one side. Both sides share words and tags; the other columns encode topics independently."""
    R, num_topics = len(topic), int(topic.max()) + 1
    words = vocabulary.reshape(-1, 6)
    own_words = np.take_along_axis(
        words[topic], np.argsort(rng.random((R, 6)), axis=1), 1
    )  # (R, 6) the words of the topic
    noisy = np.where(rng.random(R) < 0.1, rng.integers(num_topics, size=R), topic)
    centre = rng.normal(size=(num_topics, 8))
    vector = centre[topic] + 0.3 * rng.normal(size=(R, 8))
    colour = rng.integers(32, 224, size=(num_topics, 8, 8, 3))
    pixels = (colour[topic] + rng.integers(-16, 17, size=(R, 8, 8, 3))).astype(np.uint8)
    days = rng.permutation(num_topics)[topic] * 30 + rng.integers(20, size=R)
    return pl.DataFrame(
        {
            key: _ids(key[0], np.arange(R)),
            "group": _ids("group-", noisy),
            "tags": pl.Series(own_words[:, :2].astype(str).tolist(), dtype=pl.List(pl.String)),
            "size": rng.permutation(num_topics)[topic] + 0.2 * rng.normal(size=R),
            "text": [" ".join(row) for row in own_words[:, 2:]],
            "picture": [_png(each) for each in pixels],
            "vector": pl.Series(vector.astype(np.float32), dtype=pl.Array(pl.Float32, 8)),
            "created": pl.Series(np.datetime64(EPOCH, "us") + days.astype("timedelta64[D]")),
        }
    )


def _png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels (height, width, 3) as a PNG file."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()
