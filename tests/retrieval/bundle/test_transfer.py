"""Bundles on other file systems: what arrives is what was sent, or nothing."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import pytest
from helpers.bundles import change_manifest, copied, refit_manifest

from dssm_lightning.retrieval.bundle import transfer
from dssm_lightning.retrieval.bundle.files import CARD, MANIFEST, list_files
from dssm_lightning.retrieval.bundle.transfer import pull, pull_into_cache, push
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

MEMORY = "memory://models/shop"


@pytest.fixture
def memory() -> Iterator[Any]:
    """The file system that is the process's memory; empty before and after."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


@pytest.fixture(params=["memory", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path, memory: Any) -> str:
    return MEMORY if request.param == "memory" else f"file://{tmp_path}/remote/shop"


def system_of(url: str) -> tuple[Any, str]:
    found: tuple[Any, str] = fsspec.core.url_to_fs(url)
    return found


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_pulled_is_what_was_pushed(shop_bundle: Path, url: str, tmp_path: Path) -> None:
    push(shop_bundle, url)
    pull(url, tmp_path / "pulled")
    assert content(tmp_path / "pulled") == content(shop_bundle)
    assert sorted(path.name for path in tmp_path.iterdir() if ".lock" in path.name or ".tmp" in path.name) == []
    wanted = Retriever.load(shop_bundle).search("list files", k=5)
    assert Retriever.load(tmp_path / "pulled").search("list files", k=5) == wanted
    assert Retriever.load(url).search("list files", k=5) == wanted


def test_a_url_is_pulled_once(shop_bundle: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    push(shop_bundle, MEMORY)
    fetched: list[str] = []
    fetch = transfer._fetch
    monkeypatch.setattr(transfer, "_fetch", lambda *given: (fetched.append(given[1]), fetch(*given)))
    folder = pull_into_cache(MEMORY)
    assert folder.is_relative_to(tmp_path / "home")
    files = len(list_files(shop_bundle))
    assert len(fetched) == files
    assert pull_into_cache(MEMORY) == folder
    assert len(Retriever.load(MEMORY)) == 30
    assert len(fetched) == files
    (folder / "query.onnx").write_bytes(b"damaged")
    assert pull_into_cache(MEMORY) == folder  # pulled again
    assert len(fetched) == 2 * files
    changed = copied(shop_bundle, tmp_path / "changed")
    with Retriever.load(changed) as retriever:
        retriever.remove(["i1"])
        retriever.save(changed)
    push(changed, MEMORY)
    assert pull_into_cache(MEMORY) != folder
    assert len(Retriever.load(MEMORY)) == 29


def test_several_at_once_wait_for_one_pull(shop_bundle: Path, memory: Any) -> None:
    push(shop_bundle, MEMORY)
    with ThreadPoolExecutor(4) as pool:
        assert {len(each) for each in pool.map(Retriever.load, [MEMORY] * 4)} == {30}


def test_a_newer_bundle_replaces_the_files_of_the_older(shop_bundle: Path, url: str, tmp_path: Path) -> None:
    older = copied(shop_bundle, tmp_path / "older")
    (older / "index" / "extra.bin").write_bytes(b"x")
    refit_manifest(older)
    push(older, url)
    system, root = system_of(url)
    with system.open(f"{root}/notes.txt", "wb") as file:
        file.write(b"not ours")
    push(shop_bundle, url)
    assert not system.exists(f"{root}/index/extra.bin")
    assert system.exists(f"{root}/notes.txt")
    pull(url, tmp_path / "pulled")
    assert content(tmp_path / "pulled") == content(shop_bundle)


@pytest.mark.parametrize("name", ["query.onnx", "corpus/rows.jsonl", "model.safetensors"])
def test_remote_files_that_differ(name: str, shop_bundle: Path, url: str, tmp_path: Path) -> None:
    push(shop_bundle, url)
    system, root = system_of(url)
    good = (shop_bundle / name).read_bytes()
    older = copied(shop_bundle, tmp_path / "pulled")
    for wrong in (good + b"x", good[:-1], bytes([good[0] ^ 1]) + good[1:], b""):
        with system.open(f"{root}/{name}", "wb") as file:
            file.write(wrong)
        with pytest.raises(UserError, match=f"{name} is not the file that manifest.json describes.*push"):
            pull(url, older)
        with pytest.raises(UserError, match=f"{name} is not the file"):
            Retriever.load(url)
    system.rm_file(f"{root}/{name}")
    with pytest.raises(UserError, match=f"{name} is missing.*push the bundle again"):
        pull(url, older)
    assert content(older) == content(shop_bundle)  # the earlier one is whole
    assert not list((tmp_path / "home").rglob("manifest.json"))


def test_no_more_is_read_than_the_manifest_says(
    shop_bundle: Path, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(shop_bundle, MEMORY)
    read = []

    class Endless:
        def __enter__(self) -> Endless:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def read(self, most: int) -> bytes:
            read.append(most)
            return b"\0" * most

    opened = type(memory).open
    monkeypatch.setattr(
        type(memory),
        "open",
        lambda self, path, *given, **options: (
            Endless() if path.endswith("query.onnx") else opened(self, path, *given, **options)
        ),
    )
    with pytest.raises(UserError, match=r"query\.onnx is not the file"):
        pull(MEMORY, tmp_path / "pulled")
    assert sum(read) == (shop_bundle / "query.onnx").stat().st_size + 1


def test_a_broken_transfer_is_no_bundle(
    shop_bundle: Path, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(shop_bundle, MEMORY)
    opened = type(memory).open

    def breaks(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        if mode == "wb" and path.endswith("schema.json"):
            raise ConnectionResetError("the line is down\nand more")
        return opened(self, path, mode, **options)

    with monkeypatch.context() as patched:
        patched.setattr(type(memory), "open", breaks)
        with pytest.raises(UserError, match=r"memory://models/shop cannot be written.*the line is down$"):
            push(shop_bundle, MEMORY)
    with pytest.raises(UserError, match=r"no manifest\.json, so this is no bundle"):
        pull(MEMORY, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    push(shop_bundle, MEMORY)
    pull(MEMORY, tmp_path / "pulled")

    def fails(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        if path.endswith("schema.json"):
            raise RuntimeError("of any class")
        return opened(self, path, mode, **options)

    monkeypatch.setattr(type(memory), "open", fails)
    with pytest.raises(UserError, match=r"schema\.json cannot be copied: RuntimeError: of any class"):
        pull(MEMORY, tmp_path / "pulled")
    assert content(tmp_path / "pulled") == content(shop_bundle)


def test_what_is_no_bundle(shop_bundle: Path, memory: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"memory://nothing: there is no manifest\.json"):
        pull("memory://nothing", tmp_path / "pulled")
    with pytest.raises(UserError, match=r"there is no manifest\.json"):
        Retriever.load(f"file://{tmp_path}/nowhere")
    with pytest.raises(UserError, match=r"s4://x.*s4"):
        Retriever.load("s4://x")
    with pytest.raises(UserError, match=r"s4://x.*s4"):
        push(shop_bundle, "s4://x")
    for content_, message in ((b"{", "not valid JSON"), (b" " * (1 << 25), "more than 16,777,216 bytes")):
        memory.pipe("/models/wrong/manifest.json", content_)
        with pytest.raises(UserError, match=message):
            pull("memory://models/wrong", tmp_path / "pulled")
    broken = copied(shop_bundle, tmp_path / "broken")
    (broken / "query.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match=r"query\.onnx"):
        push(broken, MEMORY)
    assert not memory.exists("/models/shop")


def test_a_manifest_that_leaves_the_folder_writes_nothing(shop_bundle: Path, memory: Any, tmp_path: Path) -> None:
    push(shop_bundle, MEMORY)
    memory.pipe("/models/evil", b"evil")
    evil = copied(shop_bundle, tmp_path / "evil")
    for name in ("../evil", "/evil", "a/../../evil"):
        change_manifest(evil, lambda values, name=name: values["files"].update({name: {"size": 4, "sha256": "0" * 64}}))
        memory.pipe("/models/shop/manifest.json", (evil / MANIFEST).read_bytes())
        with pytest.raises(UserError, match="leaves the bundle's folder"):
            pull(MEMORY, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    assert not (tmp_path / "evil2").exists()


def test_a_folder_with_something_else_is_kept(shop_bundle: Path, memory: Any, tmp_path: Path) -> None:
    push(shop_bundle, MEMORY)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="mine exists"):
        pull(MEMORY, tmp_path / "mine")
    assert content(tmp_path / "mine") == {"thesis.txt": b"x"}
    pulled = copied(shop_bundle, tmp_path / "pulled")
    (pulled / ".git").mkdir()
    (pulled / ".git" / "config").write_text("x")
    with pytest.raises(UserError, match=r"'\.git/config'.*would be lost"):
        pull(MEMORY, pulled)


def test_the_card_travels_also_when_it_was_edited(shop_bundle: Path, memory: Any, tmp_path: Path) -> None:
    edited = copied(shop_bundle, tmp_path / "edited")
    (edited / CARD).write_text("edited")
    push(edited, MEMORY)
    pull(MEMORY, tmp_path / "pulled")
    assert (tmp_path / "pulled" / CARD).read_text() == "edited"
    memory.rm_file("/models/shop/README.md")
    pull(MEMORY, tmp_path / "pulled")
    assert not (tmp_path / "pulled" / CARD).exists()


def test_without_fsspec(shop_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(UserError, match=r"memory://models/shop.*fsspec"):
        push(shop_bundle, MEMORY)


def test_two_pulls_into_one_folder(
    shop_bundle: Path, memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(shop_bundle, MEMORY)
    inside, go_on = threading.Event(), threading.Event()
    fetch = transfer._fetch

    def slow(*given: Any) -> None:
        inside.set()
        assert go_on.wait(60)
        fetch(*given)

    monkeypatch.setattr(transfer, "_fetch", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(pull, MEMORY, tmp_path / "pulled")
        assert inside.wait(60)
        try:
            with pytest.raises(UserError, match="pulled: another process writes a bundle there"):
                pull(MEMORY, tmp_path / "pulled")
        finally:
            go_on.set()
        first.result(timeout=60)
    assert content(tmp_path / "pulled") == content(shop_bundle)
