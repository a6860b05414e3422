"""Make the folders that a user names; what stands in their way is named in one line."""

from __future__ import annotations

import os
from pathlib import Path

from dssm_lightning.utils.errors import UserError


def make_folder(path: Path, label: str) -> None:
    """Make a folder, with its parents, unless it exists.

    Args:
        path: the folder.
        label: the setting, or what the folder holds, at the start of messages.

    Raises:
        UserError: the path or a parent is a file, or a link to nothing.
        OSError: it cannot be made, for example because its parent is read-only.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     make_folder(Path(folder, "cache", "of a run"), "cache_dir")
        ...     os.listdir(folder)
        ['cache']
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        obstacle = next((each for each in (path, *path.parents) if os.path.lexists(each) and not each.is_dir()), None)
        if obstacle is None:
            raise OSError(error.errno, f"{label}: the folder cannot be made: {error.strerror}", str(path)) from error
        found = f"a link to {os.readlink(obstacle)}, which is no folder" if obstacle.is_symlink() else "no folder"
        raise UserError(
            f"{label} is {str(path)!r}, but {obstacle} is {found}; remove it, or work in or name another folder"
        ) from error
