"""A file is there whole, or as it was before."""

from __future__ import annotations

from pathlib import Path

import pytest

from dssm_lightning.utils.atomic_files import atomic_write


def test_what_is_written_takes_the_files_place(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    for text in ("first", "second"):
        with atomic_write(path) as temporary:
            temporary.write_text(text)
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_who_fails_leaves_everything_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="in the middle"), atomic_write(path) as temporary:  # noqa: PT012  # both are needed
        temporary.write_text("half")
        raise RuntimeError("in the middle")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
