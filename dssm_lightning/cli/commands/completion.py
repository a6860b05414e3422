"""The command that writes the script by which a shell completes commands and options."""

from __future__ import annotations

from typing import Literal

from dssm_lightning.utils.console import show_text
from dssm_lightning.utils.optional_packages import naming_packages


def completion(shell: Literal["bash", "zsh"]) -> str:
    """Show the script by which a shell completes commands, options and files.

    Write it to a file once, and again after an upgrade; docs/reference/command-line.md has the lines.

    Args:
        shell: bash or zsh.

    Returns:
        the script.
    """
    with naming_packages("completion", "completion"):
        import shtab  # noqa: F401  # before the seconds that the options take
    from dssm_lightning.cli.completion_script import completion_script

    script = completion_script(shell)
    show_text(script)
    return script
