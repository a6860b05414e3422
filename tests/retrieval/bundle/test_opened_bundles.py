"""A bundle that is open: what it loads, what becomes of it when its folder changes, and how it is saved."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from helpers.bundles import change_manifest, copied
from helpers.retrievers import shop_table

from dssm_lightning.retrieval.bundle import writing
from dssm_lightning.retrieval.bundle.files import CARD, MANIFEST
from dssm_lightning.retrieval.bundle.manifest import read_manifest
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

NEW = {"item": "new", "text": "list the files", "price": 2.5}


@pytest.fixture
def bundle(shop_bundle: Path, tmp_path: Path) -> Path:
    return copied(shop_bundle, tmp_path / "bundle")


def modules_after(code: str) -> set[str]:
    """The modules that a fresh process holds after some lines."""
    line = ["timeout", "-k", "5", "100", sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.splitlines()[-1].split())


def test_an_answer_needs_neither_torch_nor_lightning_nor_polars(shop_bundle: Path) -> None:
    search = 'retriever.search("list files", k=3, filter="price > 2 and tags = \'red\'", hybrid=1.0, exclude=["i1"])'
    code = f"from dssm_lightning import Retriever\nwith Retriever.load({str(shop_bundle)!r}) as retriever:\n"
    found = modules_after(f"{code} {search}; retriever.similar('i1'); retriever.encode_candidate(['list'])")
    assert "onnxruntime" in found
    heavy = {"torch", "lightning", "polars", "tokenizers", "PIL", "faiss", "pandas", "scipy", "torchmetrics", "rich"}
    assert not found & heavy
    assert not {name for name in found if name.startswith(("dssm_lightning.data", "dssm_lightning.models"))}


def test_onnxruntime_is_not_installed(shop_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UserError, match=r"onnxruntime.*not installed.*dssm-lightning\[onnx\]"):
        Retriever.load(shop_bundle)


@pytest.mark.parametrize("threads", [0, True, "2", 1.5])
def test_threads_are_a_whole_number(threads: object, shop_bundle: Path) -> None:
    with pytest.raises(UserError, match=r"Retriever.load: threads is"):
        Retriever.load(shop_bundle, threads=threads)  # type: ignore[arg-type]  # wrong on purpose
    assert len(Retriever.load(shop_bundle, threads=2).search("list files", k=2)) == 2


def test_a_bundle_that_is_moved_while_it_is_open(bundle: Path, tmp_path: Path) -> None:
    """What was opened goes on; a program that was not opened yet is refused."""
    used, unused = Retriever.load(bundle), Retriever.load(bundle)
    wanted = used.search("list files", k=5)
    bundle.rename(tmp_path / "moved")
    assert used.search("list files", k=5) == wanted
    assert used.similar("i3", k=2)
    with pytest.raises(UserError, match=r"bundle: there is no manifest\.json"):
        unused.search("list files", k=5)
    with pytest.raises(UserError, match=r"bundle: there is no manifest\.json"):
        used.add([NEW])
    with pytest.raises(UserError, match=r"bundle: there is no manifest\.json"):
        used.save(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert Retriever.load(tmp_path / "moved").search("list files", k=5) == wanted


def test_another_bundle_in_its_place_is_never_mixed_with_it(bundle: Path, tmp_path: Path) -> None:
    """As when a new model is exported over the one that is open."""
    used, unused = Retriever.load(bundle), Retriever.load(bundle)
    wanted = used.search("list files", k=5)
    other = copied(bundle, tmp_path / "other")
    content = bytearray((other / "model.safetensors").read_bytes())
    content[-100:] = bytes(100)
    (other / "model.safetensors").write_bytes(content)
    from helpers.bundles import refit_manifest

    refit_manifest(other)
    shutil.rmtree(bundle)
    other.rename(bundle)
    assert used.search("list files", k=5) == wanted
    for use in (
        lambda: unused.search("list files", k=5),
        lambda: used.add([NEW]),
        lambda: used.save(bundle),
        lambda: unused.save(tmp_path / "new"),
    ):
        with pytest.raises(UserError, match=r"another bundle took its place, with another model.safetensors: load it"):
            use()
    assert not (tmp_path / "new").exists()


# -- save --------------------------------------------------------------------------------------------------------------


def test_changed_candidates_are_saved(bundle: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(bundle)
    retriever.add([NEW])
    retriever.remove(["i1", "i2"])
    wanted = [
        retriever.search("list files", k=29, **options) for options in ({}, {"hybrid": 1.0}, {"filter": "price > 2"})
    ]  # type: ignore[call-overload]  # options by name
    retriever.save(tmp_path / "saved")
    assert len(Retriever.load(bundle)) == 30
    retriever.save(bundle)  # over itself, while it is open
    for place in (tmp_path / "saved", bundle):
        opened = Retriever.load(place)
        assert len(opened) == 29
        found = [
            opened.search("list files", k=29, **options) for options in ({}, {"hybrid": 1.0}, {"filter": "price > 2"})
        ]  # type: ignore[call-overload]  # options by name
        assert found == wanted
        opened.add([{**NEW, "item": "newer"}])
    manifest = read_manifest(bundle)
    assert manifest.corpus.count == 29
    assert "29 candidates with embeddings of width 16" in (bundle / CARD).read_text(encoding="utf-8")
    retriever.remove(["new"])  # the retriever is open still, on files that are gone
    retriever.save(bundle)
    assert len(Retriever.load(bundle)) == 28


def test_a_file_that_was_changed_is_not_saved_with_a_new_checksum(bundle: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(bundle)
    (bundle / "metrics.json").write_text('{"metrics": {"test/mrr": 1.0}}')
    with pytest.raises(UserError, match=r"'metrics\.json' was changed"):
        retriever.save(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_save_that_fails_leaves_the_bundle_as_it_was(
    bundle: Path, shop_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    retriever = Retriever.load(bundle)
    retriever.remove(["i1"])

    def full(*given: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "write_indexes", full)
    with pytest.raises(OSError, match="No space left"):
        retriever.save(bundle)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
    assert (bundle / MANIFEST).read_bytes() == (shop_bundle / MANIFEST).read_bytes()
    assert len(Retriever.load(bundle)) == 30


def test_nothing_else_is_replaced(shop_bundle: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(shop_bundle)
    web = tmp_path / "web"
    web.mkdir()
    (web / "manifest.json").write_text('{"name": "a web page"}')
    (web / "page.html").write_text("x")
    with pytest.raises(UserError, match="web exists and is no bundle"):
        retriever.save(web)
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file exists"):
        retriever.save(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="link exists"):
        retriever.save(tmp_path / "link")
    noted = copied(shop_bundle, tmp_path / "noted")
    (noted / "corpus" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match=r"'corpus/notes.txt', which is none of the bundle's"):
        retriever.save(noted)
    (tmp_path / "empty").mkdir()
    retriever.save(tmp_path / "empty")
    assert len(Retriever.load(tmp_path / "empty")) == 30
    assert sorted(path.name for path in web.iterdir()) == ["manifest.json", "page.html"]


def test_a_place_that_another_process_writes(shop_bundle: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(shop_bundle)
    with FileLock(tmp_path / ".new.lock"), pytest.raises(UserError, match="new: another process writes a bundle there"):
        retriever.save(tmp_path / "new")
    retriever.save(tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]


def test_others_may_read_what_is_written(bundle: Path, tmp_path: Path) -> None:
    for path in bundle.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044, path
    (bundle / "model.safetensors").chmod(0o600)
    Retriever.load(bundle).save(tmp_path / "saved")
    shared = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (bundle, tmp_path / "saved")
        for path in [path / "model.safetensors"]
    }
    assert set(shared.values()) == {0o600}  # one file, which keeps its mode
    assert stat.S_IMODE((tmp_path / "saved" / "corpus" / "embeddings.safetensors").stat().st_mode) == 0o644


def test_an_older_and_a_newer_format(bundle: Path) -> None:
    change_manifest(bundle, lambda values: values.update(format=99, versions={"dssm-lightning": "9.1.0"}))
    with pytest.raises(UserError, match=r"format 99 is of a newer release \(9\.1\.0\).*update dssm-lightning"):
        Retriever.load(bundle)


def test_a_model_of_the_bundle_embeds_as_before(shop_bundle: Path) -> None:
    import numpy as np

    retriever = Retriever.load(shop_bundle)
    texts = shop_table()["text"].to_list()
    np.testing.assert_allclose(retriever.encode_candidate(texts), retriever.corpus.embeddings, atol=1e-6)
