"""The JSON of hits, of which all but the score is made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

from dssm_lightning.retrieval.hits import Hit
from dssm_lightning.serving.answers import joined, json_bytes

MOST_KEPT = 1 << 24
"""Bytes of JSON that a bundle keeps in a process; beyond them it begins anew."""


class HitJson:
    """Writes hits as answers have them, and keeps what is the same in every answer: ids, shown columns, pictures.

    Args:
        picture: gives the address of a candidate's picture; None = the bundle has no pictures.
        most: bytes that are kept.

    Example:
        >>> HitJson(None).of([Hit("17", 0.5, {"name": "cat"})])
        b'[{"id":"17","score":0.5,"display":{"name":"cat"}}]'
    """

    def __init__(self, picture: Callable[[Any], str | None] | None, most: int = MOST_KEPT) -> None:
        self._picture, self._most = picture, most
        self._kept: dict[Hashable, tuple[bytes, bytes]] = {}  # before and after the score
        self.kept_bytes = 0

    def of(self, hits: Sequence[Hit], scored: bool = True) -> bytes:
        """Return the JSON list of hits.

        Args:
            hits: of one query.
            scored: whether they show their scores.
        """
        parts = []
        for hit in hits:
            key = type(hit.id), hit.id  # 1 and true are equal
            start, end = self._kept.get(key) or self._write(key, hit)
            parts.append(start + b',"score":' + json_bytes(hit.score) + end if scored else start + end)
        return joined(parts)

    def _write(self, key: Hashable, hit: Hit) -> tuple[bytes, bytes]:
        shown: dict[str, Any] = {"display": hit.display}
        if self._picture is not None:
            shown["picture"] = self._picture(hit.id)
        found = b'{"id":' + json_bytes(hit.id), b"," + json_bytes(shown)[1:]
        size = len(found[0]) + len(found[1])
        if self.kept_bytes + size > self._most:
            self._kept.clear()
            self.kept_bytes = 0
        if size <= self._most:
            self._kept[key] = found
            self.kept_bytes += size
        return found
