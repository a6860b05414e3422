"""The one console: tables and texts that a command shows on the standard output.

What users wrote is shown as it is: square brackets and colons are no markup, and a character that would steer the
terminal is shown by its escape sequence.
"""

from __future__ import annotations

import json
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

_STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
"""Control characters except the end of a line, marks that reorder or break a line, halves of characters,
and U+FFFE and U+FFFF, which are no characters.

Marks of direction that change nothing but their own place (U+200E, U+200F) stay, and so do joiners.
"""


def printable(text: str) -> str:
    r"""Return a text in which every character that would steer a terminal is replaced by its escape sequence of JSON.

    Ends of lines stay. JSON thus stays the same JSON.

    Example:
        >>> printable("\x1b[31mred\x07 [/sale] :cat: 💥")
        '\\u001b[31mred\\u0007 [/sale] :cat: 💥'
    """
    return _STEERING.sub(lambda found: _escape(found[0]), text)


def cell(value: object, longest: int | None = None) -> str:
    r"""Return what a table shows of a value: one line, at most ``longest`` characters, nothing for None.

    Example:
        >>> cell("two\nlines"), cell("a long title", 6), cell(None)
        ('two\\nlines', 'a lon…', '')
    """
    text = "" if value is None else str(value)
    if longest is not None and len(text) > longest:
        text = f"{text[: longest - 1]}…"
    return printable(text).replace("\n", "\\n")


def console() -> Console:
    """Return a console on the current standard output, with 80 columns if it is not a terminal."""
    return _plain_console()()


def show(*parts: RenderableType) -> None:
    """Show tables and other renderables of rich. Texts in them are no markup."""
    made = console()
    for part in parts:
        made.print(part)


def show_text(text: str) -> None:
    """Show a line as it is: square brackets mean nothing, and it is not broken."""
    write_line(sys.stdout, text)


def write_line(stream: TextIO, text: str) -> None:
    """Write a line; a character that the stream's encoding lacks is replaced by its escape sequence."""
    text, encoding = printable(text), stream.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = "".join(each if _is_in(each, encoding) else _escape(each) for each in text)
    stream.write(f"{text}\n")


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _is_in(character: str, encoding: str) -> bool:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


@cache
def _plain_console() -> type[Console]:
    """Return a class of consoles without markup; rich is loaded when something is shown."""
    from rich.console import Console

    class PlainConsole(Console):
        """Shows texts as they are, also those in the cells of tables."""

        def __init__(self) -> None:
            super().__init__(markup=False, emoji=False, highlight=False)

        def render_str(self, text: str, **options: Any) -> Text:
            """Return a text without what would steer the terminal."""
            return super().render_str(printable(text), **options)

    return PlainConsole
