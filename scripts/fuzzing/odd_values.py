"""Bodies that are almost right: examples that a bundle answers, with odd values in odd places."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from fuzzing.plans import Request, post
from fuzzing.values import (
    FILTER_WORDS,
    LISTS,
    NUMBERS,
    OBJECTS,
    OF_BOTH,
    OF_KINDS,
    OPTIONS,
    PICTURES,
    TEXTS,
    deep,
)


class OddBodies:
    """Draws bodies.

    Args:
        document: of OpenAPI.
        bodies: examples, by their paths.
        columns: of the bundles, which filters may name.
    """

    def __init__(self, document: dict[str, Any], bodies: list[tuple[str, Any]], columns: list[str]) -> None:
        self._bodies = [(path, json.dumps(body)) for path, body in bodies]
        fields = document["components"]["schemas"]
        self._fields = sorted(
            {name for kind, each in fields.items() if kind.endswith("Body") for name in each["properties"]}
        )
        self._columns = [*columns, *(f"`{name}`" for name in columns), "nothing"]

    def long(self, draw: random.Random) -> Request:
        """Return an example with long texts."""
        path, text = draw.choice(self._bodies)
        return post(path, json.dumps(_lengthened(draw, json.loads(text))).encode())

    def draw(self, draw: random.Random) -> Request:
        """Return a request."""
        path, text = draw.choice(self._bodies)
        body = json.loads(text)
        if path in ("/search", "/similar"):
            names = draw.sample(list(OPTIONS), draw.choice((0, 0, 1, 2)))
            body |= {name: draw.choice(OPTIONS[name]) for name in names if path == "/search" or name in OF_BOTH}
            if draw.random() < 0.3:
                body["filter"] = self._filter(draw)
        for _ in range(draw.choice((0, 1, 1, 1, 2, 3))):
            body = self._changed(draw, body)
        return post(path, _json(draw, body))

    def _changed(self, draw: random.Random, body: Any) -> Any:
        if not isinstance(body, dict) or draw.random() < 0.02:
            return self._value(draw)
        body, roll = dict(body), draw.random()
        if roll < 0.15:
            body[draw.choice(self._fields)] = self._value(draw)
        elif roll < 0.2 and body:
            del body[draw.choice(list(body))]
        elif body:
            name = draw.choice(list(body))
            body[name] = self._inside(draw, body[name], draw.randint(0, 3))
        return body

    def _inside(self, draw: random.Random, value: Any, depth: int) -> Any:
        """Change a value, or a value within it."""
        if depth and isinstance(value, dict) and value:
            name = draw.choice(list(value))
            return {**value, name: self._inside(draw, value[name], depth - 1)}
        if depth and isinstance(value, list) and value:
            place = draw.randrange(len(value))
            return [*value[:place], self._inside(draw, value[place], depth - 1), *value[place + 1 :]]
        if isinstance(value, list) and draw.random() < 0.2:
            return value * draw.choice((2, 50, 300))
        return (
            draw.choice(OF_KINDS[type(value)]) if type(value) in OF_KINDS and draw.random() < 0.6 else self._value(draw)
        )

    def _value(self, draw: random.Random) -> Any:
        kinds: tuple[Callable[[], Any], ...] = (
            lambda: draw.choice(TEXTS),
            lambda: draw.choice(NUMBERS),
            lambda: draw.choice(LISTS),
            lambda: draw.choice(OBJECTS),
            lambda: draw.choice(PICTURES),
            lambda: draw.choice((None, True, False)),
            lambda: "".join(map(chr, draw.choices(range(32, 0x2FFF), k=draw.randint(1, 40)))),
            lambda: self._filter(draw),
            lambda: deep(draw.choice((5, 60, 400))),
        )
        return draw.choices(kinds, (6, 6, 4, 4, 3, 3, 4, 2, 1))[0]()

    def _filter(self, draw: random.Random) -> str:
        words = []
        for _ in range(draw.choice((1, 3, 3, 3, 7, 30))):
            words += [
                draw.choice(self._columns),
                draw.choice(("=", ">", "in", "<=", "!=")),
                draw.choice(FILTER_WORDS[18:]),
            ]
            words.append(draw.choice(("and", "or", "and not", draw.choice(FILTER_WORDS))))
        text = " ".join(words[:-1])
        return "(" * draw.choice((0, 0, 0, 1, 60)) + text + ")" * draw.choice((0, 0, 0, 1, 60))


def _lengthened(draw: random.Random, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _lengthened(draw, each) if name not in _NAMES else each for name, each in value.items()}
    if isinstance(value, list):
        return [_lengthened(draw, each) for each in value]
    is_text = isinstance(value, str) and not value.startswith("iVBOR")
    return "".join(map(chr, draw.choices(range(97, 5_000), k=3_000))) if is_text else value


_NAMES = ("bundle", "model", "filter", "id")


def examples(document: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return the examples of bodies in a document, by their paths."""
    found = []
    for path, methods in document["paths"].items():
        for operation in methods.values():
            media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            found += [(path, example["value"]) for example in media.get("examples", {}).values()]
    return found


def _json(draw: random.Random, body: Any) -> bytes:
    text = json.dumps(body, ensure_ascii=draw.random() < 0.5)
    if draw.random() < 0.03:
        text = text.replace("{", '{"k": 1, "k": 2, ', 1)
    return text.encode(draw.choice(("utf-8",) * 20 + ("utf-16", "utf-32")), "surrogatepass")
