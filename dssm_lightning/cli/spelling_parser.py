"""A parser whose complaints are short, and about an unknown name say which known name is nearest."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from dssm_lightning.utils.suggestions import did_you_mean

_UNKNOWN = re.compile(r"option '([\w.]+)'|unrecognized arguments: --([\w.]+)|import path string: (\w+)", re.IGNORECASE)


class SpellingParser(ArgumentParser):
    """An ArgumentParser that adds the nearest name to an error about an unknown option, class or class argument."""

    families: tuple[type, ...] = ()
    """Base classes: the names of their subclasses, and of what those take, are known names."""
    related: Sequence[ArgumentParser] = ()
    """Parsers whose options are known names as well: those of subcommands."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # whole names only: `--ckpt last` would be taken for --ckpt_path, but not by what looks it up before the parser
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def print_usage(self, file: Any = None) -> None:
        """Nothing: some hundred lines of options hide the error that follows; ``--help`` has them."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Complain as jsonargparse does, with the nearest name at the end."""
        if "required: fit." in message:  # nothing is named, where a config would name it all
            message = f"{message}; name the config that has them with --config"
        unknown = _UNKNOWN.search(message)
        options = (parser.get_defaults().keys(branches=True) for parser in (self, *self.related))
        known = {*chain.from_iterable(options), *_names(self.families)}
        super().error(
            message if unknown is None else message + did_you_mean(unknown[unknown.lastindex or 1], known), ex
        )


def _names(families: Iterable[type]) -> Iterator[str]:
    for family in families:
        kind: type
        for kind in family.__subclasses__():
            yield kind.__name__
            yield from (name for name in inspect.signature(kind).parameters if name != "self")
            yield from _names([kind])
