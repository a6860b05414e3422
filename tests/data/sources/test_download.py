"""A downloaded folder is whole or missing, and nothing is written where it is whole."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from dssm_lightning.data.sources import download
from dssm_lightning.data.sources.download import obtain
from dssm_lightning.utils.errors import UserError


def archive(path: Path) -> str:
    """Write an archive with a folder ``films``; return its MD5."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("films/u.data", "1 2 3")
        made.writestr("films/deep/u.item", "4 5 6")
        made.writestr("read me", "beside the folder")
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_the_folder_has_what_the_archive_has_in_it(tmp_path: Path) -> None:
    obtain(tmp_path / "films", "file:///not/requested", archive(tmp_path / "films.zip"))
    files = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()]
    assert sorted(files) == [".films.lock", "films.zip", "films/deep/u.item", "films/u.data"]


def test_an_interrupt_while_it_is_unpacked_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    md5 = archive(tmp_path / "films.zip")

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "_extract_member", interrupted)
        with pytest.raises(KeyboardInterrupt):
            obtain(tmp_path / "films", "file:///not/requested", md5)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    obtain(tmp_path / "films", "file:///not/requested", md5)
    assert (tmp_path / "films" / "u.data").is_file()


def test_a_complete_folder_is_used_without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system."""
    (tmp_path / "films").mkdir()

    def refused(*_: Any) -> None:
        raise AssertionError("nothing may be written")

    monkeypatch.setattr(download, "FileLock", refused)
    obtain(tmp_path / "films", "file:///not/requested", "")
    assert [path.name for path in tmp_path.iterdir()] == ["films"]


@pytest.mark.parametrize("place", ["films", "."])
def test_a_file_in_the_place_of_a_folder_is_one_line(tmp_path: Path, place: str) -> None:
    root = tmp_path / "data"
    if place == ".":
        root.write_text("no folder")
    else:
        root.mkdir()
        (root / "films").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"(films is no folder|the folder of the data is '.*data', but .*data is no)"):
        obtain(root / "films", "file:///not/requested", "")


def test_an_archive_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "films.zip").write_bytes(b"no archive")
    with pytest.raises(UserError, match=r"films\.zip cannot be unpacked"):
        obtain(tmp_path / "films", "file:///not/requested", hashlib.md5(b"no archive").hexdigest())
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []
