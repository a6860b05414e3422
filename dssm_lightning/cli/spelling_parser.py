"""A parser with short errors, which suggest the most similar known name for an unknown name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from dssm_lightning.cli.help_pages import example_text
from dssm_lightning.utils.console import printable
from dssm_lightning.utils.parser_messages import in_one_line
from dssm_lightning.utils.suggestions import did_you_mean
from dssm_lightning.utils.yaml_files import read_sections

_UNKNOWN = re.compile(r"option '([\w.]+)'|unrecognized arguments: --([\w.]+)|import path string: (\w+)", re.IGNORECASE)
_BARE = re.compile(r"unrecognized arguments: ([^-\s]\S*\.ya?ml)\b")


class SpellingParser(ArgumentParser):
    """An ArgumentParser that adds the most similar name to an error about an unknown option, class or argument."""

    families: tuple[type, ...] = ()
    """Base classes: the names of their subclasses, and of the subclasses' arguments, are known names."""
    related: Sequence[ArgumentParser] = ()
    """Other parsers, such as those of subcommands, whose options are known names too."""
    example: str = ""
    """A command line, without the program's name, that ends the help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Abbreviations are off: this parser would accept `--ckpt last` as --ckpt_path, but the search for checkpoints,
        # which reads the words before this parser does, would not.
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def format_help(self, *args: Any, **kwargs: Any) -> str:
        """Return the page of help, with the example at its end."""
        page: str = super().format_help(*args, **kwargs)
        return f"{page}\n{example_text(self.example)}\n" if self.example else page

    def print_usage(self, file: Any = None) -> None:
        """Print nothing: a hundred lines of options would hide the error that follows; ``--help`` shows them."""

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Parse a config.

        Raises:
            UserError: no YAML, or YAML that is refused. The message has the file and the line.
        """
        if Path(path).is_file():  # jsonargparse also reads the standard input
            read_sections(Path(path), f"--config {path}")
        parsed: Namespace = super().parse_path(path, *args, **kwargs)
        return parsed

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Exit with jsonargparse's message in one line, and the most similar known name."""
        message = printable(in_one_line(message))
        if "required: fit." in message:  # no setting is given at all, so probably --config was forgotten
            message = f"{message}; name the config that has them with --config"
        if (bare := _BARE.search(message)) is not None:
            message = f"{message}; name a config with --config {bare[1]}"
        unknown = _UNKNOWN.search(message)
        if unknown is not None and "did you mean" not in message:
            options = (parser.get_defaults().keys(branches=True) for parser in (self, *self.related))
            known = {*chain.from_iterable(options), *_names(self.families)}
            message += did_you_mean(unknown[unknown.lastindex or 1], known)
        super().error(message, ex)


def _names(families: Iterable[type]) -> Iterator[str]:
    for family in families:
        kind: type
        for kind in family.__subclasses__():
            yield kind.__name__
            yield from (name for name in inspect.signature(kind).parameters if name != "self")
            yield from _names([kind])
