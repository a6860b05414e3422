"""A damaged cache is made again: each file of a cache, damaged in each way, never changes what is read from it."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from helpers.small import small_data

from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import Recipe, prepare
from dssm_lightning.data.sources import Synthetic
from dssm_lightning.features import Categorical, HashedWords, History, Image, Vector
from dssm_lightning.utils.checked_folder import FILES, damaged_files, listed_files
from dssm_lightning.utils.ragged import Ragged


def recipe(place: Path, num_queries: int = 20) -> Recipe:
    """Data with labels, a history, texts, pictures and vectors."""
    text, history = HashedWords(name="text", num_buckets=50), History(name="history", of="candidate_id")
    return small_data(
        place,
        source=Synthetic(num_queries=num_queries, num_candidates=20, labels=True),
        query=[text, Vector(name="vector"), history],
        candidate=[Categorical(name="candidate_id"), text, Image(name="picture", size=4)],
    ).recipe


def flip(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1
    return bytes(changed)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit flipped at the start": lambda content: flip(content, 0),
    "a bit flipped in the middle": lambda content: flip(content, len(content) // 2),
    "a bit flipped at the end": lambda content: flip(content, -1),
    "cut in half": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeroed": lambda content: bytes(len(content)),
    "a damaged header": lambda content: b"\xff" * min(80, len(content)) + content[80:],
    "extended": lambda content: content + content,
}


def replace_by_other(path: Path, other: Path) -> None:
    path.write_bytes((other / path.name).read_bytes())


KINDS: dict[str, Callable[[Path, Path], None]] = {
    **{name: lambda path, _, to=change: path.write_bytes(to(path.read_bytes())) for name, change in CHANGES.items()},
    "deleted": lambda path, _: path.unlink(),
    "a folder": lambda path, _: (path.unlink(), path.mkdir()),
    "a pipe": lambda path, _: (path.unlink(), os.mkfifo(path)),
    "of another cache": replace_by_other,
    "unreadable": lambda path, _: path.chmod(0),
}
"""What happens to a file of a cache; the second argument is another complete cache of the same columns."""


def digest(found: cache.Prepared) -> str:
    """Return a digest of everything that is read from a cache."""
    parts = [found.schemas.to_json(), found.display, found.report]
    parts += [found.queries.write_json(), found.candidates.write_json()]
    for group in (found.query, found.event, found.candidate, found.interactions._asdict(), found.groupings):
        for name, column in sorted(group.items()):
            tensors = (column.values, column.offsets) if isinstance(column, Ragged) else (column,)
            arrays = [each.numpy() for each in tensors if isinstance(each, torch.Tensor)]
            parts += [name, *((array.dtype.str, array.shape, array.tobytes().hex()) for array in arrays)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def ended(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, ended)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Caches:
    """A complete cache of 23 files, another one with the same columns, and what the first one holds."""

    def __init__(self, place: Path) -> None:
        self.place, self.recipe = place, recipe(place)
        self.folder, self.other = self.make(), prepare(recipe(place, num_queries=21), place)
        self.expected = digest(cache.read(self.folder))
        self.files = sorted([FILES, *listed_files(self.folder)])

    def make(self) -> Path:
        return prepare(self.recipe, self.place)

    def outcome(self, file: str, kind: str) -> str:
        """Damage a file, prepare and read the data twice, and say what happened."""
        KINDS[kind](self.folder / file, self.other)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                with time_limit(30):
                    found = [digest(cache.read(self.make())) for _ in range(2)]
            except TimeoutError:
                return "hang"
            except Exception as error:  # whatever it is, the next start meets it again
                return f"failure: {error!r}"
        named = [str(each.message) for each in caught if "the cache is made again" in str(each.message)]
        if found != [self.expected] * 2:
            return "silently other"
        if damaged_files(self.folder):
            return "still damaged"
        if named:
            return "made again" if len(named) == 1 and file in named[0] else f"other messages: {named}"
        return "same"


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Caches:
    return Caches(tmp_path_factory.mktemp("caches"))


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("candidate.picture#dense.npy", "a bit flipped in the middle"),
        ("interactions.label#dense.npy", "a bit flipped at the end"),
        ("query.text#offsets.npy", "zeroed"),
        ("candidate.text#values.npy", "a damaged header"),
        ("queries.parquet", "of another cache"),
        ("schema.json", "a bit flipped in the middle"),
        ("interactions.fold#dense.npy", "a pipe"),
        ("grouped.liked#candidates.npy", "a bit flipped in the middle"),
        ("grouped.all#offsets.npy", "deleted"),
        (FILES, "a bit flipped in the middle"),
        (FILES, "of another cache"),
    ],
)
def test_a_damaged_cache_is_made_again_and_its_file_is_named(caches: Caches, file: str, kind: str) -> None:
    assert caches.outcome(file, kind) == "made again"


@pytest.mark.slow
def test_every_file_damaged_in_every_way(caches: Caches) -> None:
    outcomes = Counter[str]()
    equal = [file for file in caches.files if (caches.folder / file).read_bytes() == (caches.other / file).read_bytes()]
    for file in caches.files:
        for kind in KINDS:
            found = caches.outcome(file, kind)
            outcomes[found] += 1
            assert found in ("same", "made again"), f"{file}, {kind}: {found}"
    assert len(caches.files) == 23
    assert sum(outcomes.values()) == 23 * 13
    assert len(equal) < 9
    assert outcomes["same"] in (len(equal), len(equal) + 23)  # root reads files without permissions


def test_a_folder_under_the_name_of_another_cache_is_not_read(caches: Caches, tmp_path: Path) -> None:
    """As after a copy by hand: its files are whole, but of other data."""
    folder = tmp_path / caches.folder.name
    folder.mkdir()
    for path in caches.other.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    with pytest.warns(UserWarning, match=rf"{folder.name}: {FILES} missing or damaged"):
        assert digest(cache.read(prepare(caches.recipe, tmp_path))) == caches.expected


def test_a_file_that_the_cache_was_not_written_with_is_not_read(caches: Caches, tmp_path: Path) -> None:
    content = (caches.folder / "query.vector#dense.npy").read_bytes()
    stray = caches.folder / "query.other#dense.npy"
    stray.write_bytes(content)
    assert digest(cache.read(caches.make())) == caches.expected
    stray.unlink()


def test_a_file_in_the_place_of_a_cache_gives_way(caches: Caches, tmp_path: Path) -> None:
    (tmp_path / caches.folder.name).write_text("what is this?")
    with pytest.warns(UserWarning, match="the cache is made again"):
        assert digest(cache.read(prepare(caches.recipe, tmp_path))) == caches.expected


def test_only_the_first_process_of_a_machine_reads_every_byte(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    path = caches.folder / "interactions.label#dense.npy"
    content = path.read_bytes()
    path.write_bytes(flip(content, -1))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert damaged_files(caches.folder) == []
    assert damaged_files(caches.folder, every_process=True) == [path.name]
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert damaged_files(caches.folder) == [path.name]
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)  # as a command without a trainer
    assert damaged_files(caches.folder) == [path.name]
    path.write_bytes(content)


# -- where a cache cannot be written -----------------------------------------------------------------------------------


def test_a_complete_cache_is_read_without_writing_anything(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a read-only file system: neither a lock nor a temporary file is needed."""

    def refused(*_: Any) -> None:
        raise AssertionError("nothing may be written")

    caches.make()
    before = {path: path.stat().st_mtime_ns for path in caches.place.rglob("*")} | {
        caches.place: caches.place.stat().st_mtime_ns
    }
    monkeypatch.setattr(cache, "FileLock", refused)
    assert digest(cache.read(caches.make())) == caches.expected
    assert before.items() <= {path: path.stat().st_mtime_ns for path in (caches.place, *before)}.items()


def test_without_a_cache_a_read_only_folder_is_one_line(caches: Caches, tmp_path: Path) -> None:
    class Refused(cache.FileLock):
        def _acquire(self) -> None:
            raise PermissionError(13, "Permission denied")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "FileLock", Refused)
        with pytest.raises(OSError, match=r"cache_dir.*cannot be written \(Permission denied\)"):
            prepare(caches.recipe, tmp_path)


@pytest.mark.parametrize("kind", ["a file", "a link to nothing", "below a file"])
def test_a_cache_folder_that_is_none_is_one_line(caches: Caches, tmp_path: Path, kind: str) -> None:
    place = tmp_path / "cache"
    if kind == "a link to nothing":
        place.symlink_to(tmp_path / "nowhere")
    else:
        place.write_text("mine")
    with pytest.raises(ValueError, match=r"cache_dir is '.*cache.*is (no folder|a link to .*nowhere)") as raised:
        prepare(caches.recipe, place / "deep" if kind == "below a file" else place)
    assert "\n" not in str(raised.value)
