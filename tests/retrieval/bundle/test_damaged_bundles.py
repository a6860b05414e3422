"""A bundle whose files are missing, changed, foreign or not its own is refused, and the file is named."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from helpers.bundles import change_manifest, copied, refit_manifest
from safetensors.numpy import load_file, save_file

from dssm_lightning.retrieval.bundle.files import CARD, MANIFEST, content_of, list_files, names_in, verify_files
from dssm_lightning.retrieval.bundle.manifest import read_manifest
from dssm_lightning.retrieval.bundle.tensors import map_tensor
from dssm_lightning.retrieval.indexes import Exact
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.retrieval.term_search import BM25
from dssm_lightning.utils.errors import UserError


@pytest.fixture
def bundle(shop_bundle: Path, tmp_path: Path) -> Path:
    return copied(shop_bundle, tmp_path / "bundle")


def refused(bundle: Path, message: str, **options: Any) -> None:
    """The bundle does not open, or answers nothing."""
    with pytest.raises(UserError, match=message) as error:
        opened_and_searched(bundle, **options)
    assert "\n" not in str(error.value)


def opened_and_searched(bundle: Path, **options: Any) -> None:
    with Retriever.load(bundle, **options) as retriever:
        retriever.search("list files", k=3)
        retriever.search("list files", k=3, hybrid=1.0)


def test_every_file_is_compared(shop_bundle: Path, bundle: Path) -> None:
    names = sorted(read_manifest(shop_bundle).files)
    assert len(names) > 15
    for name in names:
        path, content = bundle / name, (shop_bundle / name).read_bytes()
        path.unlink()
        refused(bundle, f"file '{name}' is missing")
        for place in (0, len(content) // 2, len(content) - 1):  # one bit
            changed = bytearray(content)
            changed[place] ^= 1
            path.write_bytes(changed)
            refused(bundle, f"file '{name}' was changed: its checksum differs")
        path.write_bytes(content + b"\0")
        refused(bundle, f"file '{name}' has {len(content) + 1:,} bytes.*{len(content):,}")
        refused(bundle, f"file '{name}' has", verify=False)
        path.write_bytes(content)
    assert len(Retriever.load(bundle)) == 30


def test_the_manifest_and_the_folder(bundle: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere.*no such folder")
    refused(bundle / MANIFEST, "manifest.json.*no such folder")
    refused(tmp_path, "no manifest.json, so this is no bundle.*export")
    content = (bundle / MANIFEST).read_bytes()
    (bundle / MANIFEST).unlink()
    refused(bundle, "no manifest.json")
    (bundle / MANIFEST).mkdir()
    refused(bundle, "no manifest.json")
    (bundle / MANIFEST).rmdir()
    (tmp_path / "elsewhere.json").write_bytes(content)
    (bundle / MANIFEST).symlink_to(tmp_path / "elsewhere.json")
    refused(bundle, "no manifest.json")


def test_a_further_file(bundle: Path) -> None:
    for name in ("notes.txt", "corpus/more.npy", "new/x"):
        path = bundle / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
        refused(bundle, f"file '{name}' is not one of the bundle's.*remove it")
        path.unlink()
    (bundle / CARD).write_text("edited")  # people edit the card
    (bundle / ".git").mkdir()
    (bundle / ".git" / "config").write_text("x")
    assert len(Retriever.load(bundle)) == 30


def test_links_and_pipes(shop_bundle: Path, bundle: Path) -> None:
    for name in ("schema.json", "corpus/rows.jsonl"):
        (bundle / name).unlink()
        (bundle / name).symlink_to(shop_bundle / name)
        refused(bundle, f"{name} is a link")
        (bundle / name).unlink()
        shutil.copy(shop_bundle / name, bundle / name)
    shutil.rmtree(bundle / "terms")
    (bundle / "terms").symlink_to(shop_bundle / "terms")
    refused(bundle, "terms is a link")
    (bundle / "terms").unlink()
    os.mkfifo(bundle / "terms")
    refused(bundle, "terms is no regular file")


def test_a_manifest_that_claims_more_than_there_is(bundle: Path) -> None:
    """Sizes are compared with files before anything is allocated."""

    def change(values: dict[str, Any]) -> None:
        values["corpus"]["count"] = 1 << 40

    change_manifest(bundle, change)
    refused(bundle, r"30 rows; the manifest says 1,099,511,627,776")


@pytest.mark.parametrize(
    "name",
    [
        "schema.json",
        "corpus/rows.jsonl",
        "corpus/row_hashes.npy",
        "corpus/row_offsets.npy",
        "corpus/embeddings.safetensors",
    ],
)
def test_a_part_that_the_manifest_does_not_list(name: str, bundle: Path) -> None:
    (bundle / name).unlink()
    refit_manifest(bundle)
    refused(bundle, f"does not list '{name}'")


def test_parts_of_another_kind_with_a_manifest_that_fits(bundle: Path, shop_bundle: Path) -> None:
    wrong: dict[str, tuple[bytes, str]] = {
        "schema.json": (b'{"version": 99}', "schema.json: schemas of version 99"),
        "corpus/rows.jsonl": (b"[]\n", "does not fit rows.jsonl"),
        "corpus/embeddings.safetensors": (b"x" * 100, "embeddings.safetensors is damaged"),
        "index/index.json": (b"{}", "index.json is damaged"),
        "terms/terms.json": (b"{}", "terms.json is damaged"),
        "query.onnx": (b"no program", "onnxruntime cannot open query.onnx"),
        "model.safetensors": (b"", "onnxruntime cannot open .*onnx"),
    }
    for name, (content, message) in wrong.items():
        (bundle / name).write_bytes(content)
        refit_manifest(bundle)
        refused(bundle, message)
        shutil.copy(shop_bundle / name, bundle / name)
    refit_manifest(bundle)
    assert len(Retriever.load(bundle)) == 30


# -- tensors -----------------------------------------------------------------------------------------------------------


def tensor_file(path: Path, header: Any, content: bytes = b"\0" * 16) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content)
    return path


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (entry(shape=[4]), r"shape \(4,\).*\(2, 2\)"),
        (entry(shape=[2, 3]), r"shape \(2, 3\)"),
        (entry(dtype="F64"), "damaged"),
        (entry(dtype=["F32"]), "damaged"),
        (entry(data_offsets=[0, 12]), "damaged"),
        (entry(data_offsets=[-16, 0]), "damaged"),
        (entry(data_offsets=[16, 0]), "damaged"),
        (entry(data_offsets=[0, 1 << 60]), "damaged"),
        (entry(data_offsets=[8, 24]), "damaged"),
        (entry(data_offsets=[0.0, 16.0]), "damaged"),
        (entry(data_offsets=["0", "16"]), "damaged"),
        (entry(data_offsets=16), "damaged"),
        ({"y": entry()["x"]}, "no tensor 'x'"),
        ({}, "no tensor 'x'"),
        ([], "no tensor 'x'"),
        (b"{", "damaged"),
        (b"[" * 100_000, "damaged"),
        (b"\xff", "damaged"),
    ],
)
def test_tensor_files_that_do_not_fit(header: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        map_tensor(tensor_file(tmp_path / "x.safetensors", header), "x", (2, 2))


def test_tensors_are_mapped_read_only(tmp_path: Path) -> None:
    path = tensor_file(tmp_path / "x.safetensors", entry(), np.arange(4, dtype=np.float32).tobytes())
    mapped = map_tensor(path, "x", (2, 2))
    assert mapped.tolist() == [[0, 1], [2, 3]]
    assert not mapped.flags.writeable
    for content in (b"", b"\x05", (1 << 60).to_bytes(8, "little"), (0).to_bytes(8, "little")):
        path.write_bytes(content)
        with pytest.raises(UserError, match="damaged"):
            map_tensor(path, "x", (2, 2))
    with pytest.raises(UserError, match="damaged"):
        map_tensor(tmp_path / "nowhere", "x", (2, 2))


# -- indexes and terms of another corpus -------------------------------------------------------------------------------


def vectors_of(bundle: Path) -> Any:
    return load_file(bundle / "corpus" / "embeddings.safetensors")["embeddings"]


@pytest.mark.parametrize("with_vectors", [True, False])
def test_an_index_of_another_corpus_or_width(with_vectors: bool, bundle: Path) -> None:
    vectors = vectors_of(bundle)
    others = {
        r"index of 29 .* 16 vectors|29 vectors": vectors[:29],
        "of another corpus": vectors[::-1],
        r"30 .* 15|another corpus": vectors[:, :15],
    }
    for message, other in others.items():
        for index in (Exact(), Exact("int8", rescore="float32"), Exact("binary")):
            index.build(np.ascontiguousarray(other)).save(bundle / "index", with_vectors=with_vectors)
            refit_manifest(bundle)
            refused(bundle, message)
    Exact("int8").build(vectors).save(bundle / "index")
    refit_manifest(bundle)
    assert len(Retriever.load(bundle).search("list files", k=5)) == 5


def test_embeddings_or_terms_of_another_corpus(bundle: Path) -> None:
    texts = BM25()
    texts.fit(["one", "two"])
    texts.save(bundle / "terms")
    refit_manifest(bundle)
    refused(bundle, "terms is an index of 2 texts; the corpus has 30")
    texts.fit(["some text"] * 30)
    texts.save(bundle / "terms")
    save_file({"embeddings": vectors_of(bundle) + 1}, bundle / "corpus" / "embeddings.safetensors")
    refit_manifest(bundle)
    refused(bundle, "of another corpus")
    save_file({"embeddings": vectors_of(bundle)[:7]}, bundle / "corpus" / "embeddings.safetensors")
    refit_manifest(bundle)
    refused(bundle, r"shape \(7, 16\).*\(30, 16\)")


def test_a_program_that_reads_outside_of_the_folder(bundle: Path, tmp_path: Path) -> None:
    """The weights of a program are a file that it names."""
    (tmp_path / "secret").write_bytes(b"\0" * (1 << 20))
    program = onnx.load(bundle / "query.onnx", load_external_data=False)
    outside = [each for tensor in program.graph.initializer for each in tensor.external_data if each.key == "location"]
    assert outside
    for location in ("../secret", str(tmp_path / "secret")):
        for each in outside:
            each.value = location
        (bundle / "query.onnx").write_bytes(program.SerializeToString())
        refit_manifest(bundle)
        refused(bundle, "onnxruntime cannot open query.onnx")


def test_a_program_with_other_inputs_or_widths(bundle: Path) -> None:
    def rename(values: dict[str, Any]) -> None:
        values["programs"]["query"]["inputs"][0]["name"] = "other"

    good = (bundle / MANIFEST).read_bytes()
    change_manifest(bundle, rename)
    refused(bundle, "onnxruntime cannot run query.onnx")
    (bundle / MANIFEST).write_bytes(good)
    shutil.copy(bundle / "candidate.onnx", bundle / "query.onnx")
    refit_manifest(bundle)
    refused(bundle, "onnxruntime cannot run query.onnx")


def test_checksums_are_those_of_sha256(bundle: Path) -> None:
    import hashlib

    for name, content in list_files(bundle).items():
        assert content.sha256 == hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        assert content == content_of(bundle / name)
    assert sorted(names_in(bundle)) == sorted([*list_files(bundle), MANIFEST, CARD])
    verify_files(bundle, read_manifest(bundle).files)
