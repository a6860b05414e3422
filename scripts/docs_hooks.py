"""What mkdocs needs beyond its configuration: links that leave the pages, and roles of Sphinx in docstrings."""

from __future__ import annotations

import posixpath
import re
from typing import Any

import griffe

LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)\s#]+)(#[^)\s]*)?\)")
ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|obj):`~?([^`]+)`")
FORMULA = re.compile(r":math:(?=`)")
EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)
MATH = re.compile(r"^( *)\.\. math::[ ]*(.*\n(?:\1[ ]+\S.*\n|\n(?=\1[ ]{2,}\S))*)", re.MULTILINE)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point links at files of the repository outside of docs/ to the repository's web page."""
    folder = posixpath.dirname(page.file.src_uri)

    def outside(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join("docs", folder, target))
        if path.startswith("docs/"):
            return match[0]
        return f"[{text}]({config.extra['repository']}/blob/main/{path}{anchor})"

    return LINK.sub(outside, markdown)


def plain(text: str) -> str:
    """Return a docstring with the short name for each role, and formulas as code.

    Example:
        >>> plain("See :class:`~package.module.Thing`.")
        'See `Thing`.'
    """
    text = EXAMPLE.sub(r"\1Examples:", text)  # the heading that griffe takes for code with its output
    text = FORMULA.sub("", ROLE.sub(lambda match: f"`{match[1].rpartition('.')[2]}`", text))

    def fenced(match: re.Match[str]) -> str:
        indent, lines = match[1], [line.strip() for line in match[2].splitlines() if line.strip()]
        return "\n".join(f"{indent}{line}" for line in ("```text", *lines, "```")) + "\n"

    return MATH.sub(fenced, text if text.endswith("\n") else f"{text}\n").rstrip("\n")


class PlainRoles(griffe.Extension):
    """Make docstrings plain Markdown before mkdocstrings reads them."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = plain(obj.docstring.value)
