"""From sections to the HTML file: every text is escaped, and a policy in it forbids all network access."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from dssm_lightning.reports.html_report.page_parts import Section
from dssm_lightning.reports.html_report.run_record import Note
from dssm_lightning.reports.html_report.training_advice import Advice
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.console import printable
from dssm_lightning.utils.errors import UserError

LONGEST_CAPTION = 40
"""Fewer letters cannot say how to read a figure."""


class Page(NamedTuple):
    """What a report shows."""

    title: str
    headline: str
    tiles: Sequence[tuple[str, str, str]]  # name, value, and what stands below it
    notes: Sequence[Note]
    advice: Sequence[Advice]
    sections: Sequence[Section]
    made: str  # when, and by what


def render(page: Page) -> str:
    """Return the HTML of a page.

    Raises:
        AssertionError: a figure without a caption that says how to read it.
    """
    from jinja2 import Environment

    for section in page.sections:
        for figure in section.figures:
            assert len(figure.caption) >= LONGEST_CAPTION, f"{figure.title}: no caption"
    folder = files(__package__)
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_visible)
    template = environment.from_string(folder.joinpath("page.html.jinja").read_text(encoding="utf-8"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    return template.render(page=page, style=style, script=script, policy=policy)


def _visible(value: object) -> object:
    """Return a text with its control characters as escape sequences; markup is made of such texts already."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def require_writable(path: Path) -> None:
    """Refuse a place where no report can be written, before anything is computed.

    Raises:
        UserError: the suffix is not .html; a folder; a folder that cannot be made or written.
    """
    if path.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"--output {path}: the suffix is {path.suffix!r}; a report is an .html file")
    if path.is_dir():
        raise UserError(f"--output {path}: is a folder; name a file in it, such as {path / 'report.html'}")
    try:
        with atomic_write(path.with_name(f".{path.name}.trial")) as temporary:
            temporary.write_bytes(b"")
        path.with_name(f".{path.name}.trial").unlink()
    except OSError as error:
        raise UserError(
            f"--output {path}: the folder {path.absolute().parent} cannot be written: {error.strerror}"
        ) from error


def write_page(page: Page, path: Path) -> int:
    """Write a page, whole or not at all, and return its number of bytes."""
    content = render(page).encode("utf-8", "replace")  # half a surrogate pair in a text is no UTF-8
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)
    return len(content)
