"""The one console: tables and texts that a command shows on the standard output."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


def console() -> Console:
    """Return a console on the current standard output, with 80 columns if it is not a terminal."""
    from rich.console import Console

    return Console()


def show(*parts: RenderableType) -> None:
    """Show tables and other renderables of rich."""
    made = console()
    for part in parts:
        made.print(part, markup=False, highlight=False)


def show_text(text: str) -> None:
    """Show a line as it is: square brackets mean nothing, and it is not broken."""
    sys.stdout.write(f"{text}\n")
