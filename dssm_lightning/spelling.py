"""A parser whose complaints about an unknown name say which known name is nearest."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NoReturn

from jsonargparse import ArgumentParser

_UNKNOWN = re.compile(r"option '([\w.]+)'|unrecognized arguments: --([\w.]+)|import path string: (\w+)", re.IGNORECASE)


class SpellingParser(ArgumentParser):
    """An ArgumentParser that adds the nearest name to an error about an unknown option, class or class argument."""

    families: tuple[type, ...] = ()
    """Base classes: the names of their subclasses, and of what those take, are known names."""
    related: Sequence[ArgumentParser] = ()
    """Parsers whose options are known names as well: those of subcommands."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Complain as jsonargparse does, with the nearest name at the end."""
        unknown = _UNKNOWN.search(message)
        options = (parser.get_defaults().keys(branches=True) for parser in (self, *self.related))
        known = {*chain.from_iterable(options), *_names(self.families)}
        super().error(message if unknown is None else message + nearest(unknown[unknown.lastindex or 1], known), ex)


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean …?``, or nothing where no known name is like this one."""
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def _names(families: Iterable[type]) -> Iterator[str]:
    for family in families:
        kind: type
        for kind in family.__subclasses__():
            yield kind.__name__
            yield from (name for name in inspect.signature(kind).parameters if name != "self")
            yield from _names([kind])
