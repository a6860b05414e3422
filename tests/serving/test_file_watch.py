"""Files of a bundle that change while it is served."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import copied

from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.serving import file_watch
from dssm_lightning.serving.errors import RequestError
from dssm_lightning.serving.file_watch import FileWatch
from dssm_lightning.serving.serving import Serving
from dssm_lightning.serving.settings import ServingSettings, name_bundles
from dssm_lightning.utils.errors import UserError


@pytest.fixture
def bundle(shop_bundle: Path, tmp_path: Path) -> Path:
    return copied(shop_bundle, tmp_path / "shop")


@pytest.fixture
def serving(bundle: Path) -> Iterator[Serving]:
    made = Serving(ServingSettings(name_bundles([str(bundle)])))
    made.open()
    yield made
    made.close()


def touch(path: Path) -> None:
    """Let a file look as if it had been written in place."""
    found = path.stat()
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1_000_000_000))


def test_nothing_happens_to_files_that_stay(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    watch = FileWatch(serving)
    watch.look()
    watch.look()
    assert serving.is_ready
    assert not caplog.records


@pytest.mark.parametrize("name", ["corpus/embeddings.safetensors", "manifest.json", "corpus/rows.jsonl"])
def test_a_file_that_is_changed_in_place_ends_the_service(
    serving: Serving, bundle: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    watch = FileWatch(serving)
    touch(bundle / name)
    watch.look()
    watch.look()
    assert serving.why_not_ready is not None
    assert "shop" in serving.why_not_ready
    assert name in serving.why_not_ready
    with pytest.raises(RequestError, match=name) as error:
        serving.bundle()
    assert error.value.status == 503
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_change_before_the_first_look_is_seen(serving: Serving, bundle: Path) -> None:
    touch(bundle / "corpus" / "embeddings.safetensors")
    FileWatch(serving).look()
    assert "embeddings" in (serving.why_not_ready or "")


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_bundle_that_is_written_while_it_is_opened_is_refused(
    serving: Serving, bundle: Path, monkeypatch: pytest.MonkeyPatch, is_replaced: bool
) -> None:
    load, first = Retriever.load, serving.bundle()

    def load_and_write(*arguments: Any, **options: Any) -> Retriever:
        found = load(*arguments, **options)
        if is_replaced:
            replace(bundle)
        touch(bundle / "query.onnx")
        return found

    monkeypatch.setattr(Retriever, "load", load_and_write)
    with pytest.raises(UserError, match=r"shop.*written while"):
        asyncio.run(serving.reload())
    monkeypatch.undo()
    assert serving.bundle() is first
    asyncio.run(serving.reload())
    assert serving.bundle() is not first


def test_a_file_that_becomes_shorter_ends_the_service(serving: Serving, bundle: Path) -> None:
    watch, path = FileWatch(serving), bundle / "corpus" / "embeddings.safetensors"
    before = path.stat()
    with path.open("r+b") as file:
        file.truncate(before.st_size - 1)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    watch.look()
    assert not serving.is_ready


def test_a_reload_begins_anew(serving: Serving, bundle: Path) -> None:
    watch = FileWatch(serving)
    touch(bundle / "query.onnx")
    watch.look()
    assert not serving.is_ready
    asyncio.run(serving.reload())
    watch.look()
    assert serving.is_ready
    assert serving.bundle().name == "shop"
    touch(bundle / "query.onnx")
    watch.look()
    assert not serving.is_ready


def test_a_reload_of_what_was_changed_to_something_else_is_refused(serving: Serving, bundle: Path) -> None:
    watch = FileWatch(serving)
    with (bundle / "query.onnx").open("r+b") as file:
        file.write(b"other")
    watch.look()
    with pytest.raises(UserError, match=r"query\.onnx"):
        asyncio.run(serving.reload())
    assert not serving.is_ready


def replace(bundle: Path) -> None:
    """Put another bundle into its place, as ``export`` and ``pull`` do."""
    shutil.copytree(bundle, bundle.with_name("new"))
    bundle.rename(bundle.with_name("old"))
    bundle.with_name("new").rename(bundle)


def replace_and_remove(bundle: Path) -> None:
    replace(bundle)
    shutil.rmtree(bundle.with_name("old"))


def remove(bundle: Path) -> None:
    shutil.rmtree(bundle)


def remove_one(bundle: Path) -> None:
    (bundle / "query.onnx").unlink()


@pytest.mark.parametrize("change", [replace, replace_and_remove, remove, remove_one])
def test_a_bundle_that_is_replaced_or_removed_is_served_further(
    serving: Serving, bundle: Path, change: object, caplog: pytest.LogCaptureFixture
) -> None:
    watch, before = FileWatch(serving), serving.bundle().retriever.search("red shoes", k=3)
    assert callable(change)
    change(bundle)
    with caplog.at_level("INFO", "dssm_lightning"):
        watch.look()
        watch.look()
    assert serving.is_ready
    assert serving.bundle().retriever.search("red shoes", k=3) == before
    assert [record.message for record in caplog.records if "shop" in record.message] == [caplog.records[0].message]
    assert "reload" in caplog.text
    caplog.clear()
    FileWatch(serving, tells=False).look()  # another worker
    assert not caplog.records


def test_the_readme_may_be_edited(serving: Serving, bundle: Path) -> None:
    watch = FileWatch(serving)
    (bundle / "README.md").write_text("ours", encoding="utf-8")
    watch.look()
    assert serving.is_ready


def test_it_looks_again_and_again(serving: Serving, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_watch, "EVERY_S", 0.01)

    async def watch() -> None:
        task = asyncio.create_task(FileWatch(serving).run())
        await asyncio.sleep(0.05)
        assert serving.is_ready
        touch(bundle / "query.onnx")
        while serving.is_ready:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(watch(), 20))
