"""How pages of help look: at most 80 columns, with an example at the end, and Lightning's pages by section."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence

from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.suggestions import did_you_mean

SECTIONS = ("trainer", "model", "data", "checkpoint", "last", "embeddings", "all")
WIDTH = 80


def wrapped(text: str, indent: str = "") -> str:
    """Return a text in lines that fit the terminal, all but the first indented."""
    return textwrap.fill(text, _width(), subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def option_lines(options: Mapping[str, str], most: int = 29, indent: str = "  ") -> list[str]:
    """Return a line for each name, with what it is beside it, or below it if the name is long.

    Args:
        options: what each name is.
        most: the width of the names' column at most.
        indent: before each name.

    Example:
        >>> option_lines({"--k N": "answers", "--a_long_name": "else"}, most=9)
        ['  --k N  answers', '  --a_long_name', '         else']
    """
    place = min(most, len(indent) + max(map(len, options), default=0) + 2)
    lines = []
    for name, text in options.items():
        head = f"{indent}{name}"
        if len(head) + 2 > place:
            lines.append(head)
            head = ""
        lines += wrapped(f"{head:<{place}}{text}", " " * place).splitlines()
    return lines


def example_text(example: str) -> str:
    """Return the end of a page: an example that can be copied."""
    return f"example:\n  dssm-lightning {example}"


def asked_section(words: Sequence[str]) -> str | None:
    """Return the section of ``--help=SECTION``, or None.

    Example:
        >>> asked_section(["fit", "--help=trainer"]), asked_section(["fit", "--help-all"]), asked_section(["fit"])
        ('trainer', 'all', None)
    """
    for word in words:
        if word == "--help-all":  # the name of earlier versions
            return "all"
        if word.startswith("--help="):
            return word.partition("=")[2]
    return None


def require_section(section: str) -> None:
    """Refuse an unknown section.

    Raises:
        UserError: its name, and those that there are.
    """
    if section not in SECTIONS:
        raise UserError(
            f"--help={section}: there is no such section; there are {', '.join(SECTIONS)}"
            + did_you_mean(section, SECTIONS)
        )


def of_section(page: str, section: str) -> str:
    """Return the blocks of a page with the options of a section.

    Example:
        >>> page = "usage: x\\n\\nTrains:\\n  --trainer.devices N\\n\\nThe data:\\n  --data.batch_size N\\n"
        >>> of_section(page, "data")
        'The data:\\n  --data.batch_size N'
    """
    blocks = re.split(r"\n(?=\S)", page)
    if section == "all":
        kept = [each for each in blocks if not each.startswith("usage:")]
    else:
        kept = [each for each in blocks if re.search(rf"^  --{section}[. ]", each, re.MULTILINE)]
    lines = [line for block in kept for line in block.rstrip().splitlines() or [""]]
    return "\n".join(wrapped(line, _indent(line)) if len(line) > _width() else line for line in lines)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _width() -> int:
    return min(WIDTH, shutil.get_terminal_size().columns)
