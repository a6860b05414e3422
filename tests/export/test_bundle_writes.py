"""What an export leaves on the disk: a whole bundle, or what was there before."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.bundles import copied, export, refit_manifest, same_answers
from helpers.retrievers import shop
from helpers.small import write_config
from torch import Tensor

from dssm_lightning import Retriever, Tower
from dssm_lightning.api import export_bundle, load_retriever
from dssm_lightning.cli.main import main
from dssm_lightning.export import bundle as bundle_module
from dssm_lightning.export import towers
from dssm_lightning.features import Feature
from dssm_lightning.models.encoders import Encoder
from dssm_lightning.retrieval.bundle.files import MANIFEST
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged


class Longest(Encoder):
    """An encoder of a user, which reads a value in Python."""

    def __init__(self, feature: Feature, output_dim: int = 1) -> None:
        super().__init__()
        self.output_dim = 1

    def forward(self, column: Column) -> Tensor:
        """Ragged -> (B, 1)."""
        assert isinstance(column, Ragged)
        return column.lengths[:, None].float() / (1 + max(column.lengths.tolist(), default=0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return shop(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, shop_bundle: Path) -> None:
    """Write the programs of a bundle that was exported before: tracing takes seconds."""
    import shutil

    from dssm_lightning.retrieval.bundle.manifest import read_manifest

    def copy(model: Any, folder: Path, **options: Any) -> Any:
        for name in ("model.safetensors", "query.onnx", "candidate.onnx", "scorer.onnx"):
            shutil.copyfile(shop_bundle / name, folder / name)
        return read_manifest(shop_bundle).programs

    monkeypatch.setattr(bundle_module, "export_towers", copy)


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_model_gives_the_same_bytes(made: Any, shop_bundle: Path, tmp_path: Path) -> None:
    """Also with another cache, and after other exports."""
    found, wanted = content(export(*made, tmp_path / "again")), content(shop_bundle)
    assert sorted(found) == sorted(wanted)
    assert [name for name in wanted if found[name] != wanted[name]] == []
    assert [each for each in Tower.__subclasses__() if each.__name__ == "Tower"] == []  # YAML finds one Tower


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "step", ["write_corpus", "_write_texts", "_write_sample", "export_towers", "write_manifest", "_recalls"]
)
def test_a_disk_that_fills_up(
    step: str, made: Any, shop_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = copied(shop_bundle, tmp_path / "older")

    def full(*given: Any, **options: Any) -> None:
        (given[0] / "half.bin").write_bytes(b"x") if isinstance(given[0], Path) else None
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundle_module, step, full)
    for place in (tmp_path / "new", older):
        with pytest.raises(OSError, match="No space left"):
            export(*made, place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["older"]
    assert content(older) == content(shop_bundle)


@pytest.mark.usefixtures("quick")
def test_an_older_bundle_is_replaced_and_something_else_is_not(made: Any, shop_bundle: Path, tmp_path: Path) -> None:
    older = copied(shop_bundle, tmp_path / "older")
    (older / "index" / "old.bin").write_bytes(b"x")
    refit_manifest(older)
    export(*made, older)
    assert not (older / "index" / "old.bin").exists()
    assert len(Retriever.load(older)) == 30
    (older / "thesis.txt").write_text("x")
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "thesis.txt").write_text("x")
    (tmp_path / "file").write_text("x")
    for place, message in (
        (older, r"'thesis\.txt'.*would be lost"),
        (tmp_path / "work", "work exists"),
        (tmp_path / "file", "file exists"),
    ):
        with pytest.raises(UserError, match=message):
            export(*made, place)
    assert (older / "thesis.txt").exists()
    assert (tmp_path / "work" / "thesis.txt").exists()


@pytest.mark.usefixtures("quick")
def test_of_two_exports_into_one_folder_the_second_is_refused(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    write = bundle_module._write_texts

    def slow(*given: Any) -> None:
        inside.set()
        assert go_on.wait(60)
        write(*given)

    monkeypatch.setattr(bundle_module, "_write_texts", slow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(export, *made, tmp_path / "shop")
        assert inside.wait(60)
        try:
            with pytest.raises(UserError, match="shop: another process writes a bundle there"):
                export(*made, tmp_path / "shop")
        finally:
            go_on.set()
        first.result(timeout=60)
    assert len(Retriever.load(tmp_path / "shop")) == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop"]


def test_an_operator_that_onnx_does_not_hold(tmp_path: Path) -> None:
    tower = {"class_path": "Tower", "init_args": {"fusion": "Concat", "output_dim": 16}}
    own = {"words": {"class_path": f"{__name__}.Longest", "init_args": {}}}
    query = {"class_path": "Tower", "init_args": {**tower["init_args"], "encoders": own}}  # type: ignore[dict-item]  # of several types
    model, data = shop(tmp_path / "cache", model={"query_tower": query, "candidate_tower": tower})
    with pytest.raises(UserError, match=r"Longest, the encoder of query feature 'words'.*is_exporting"):
        export(model, data, tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]


def test_without_the_packages_nothing_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(towers, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnxruntime is not installed.*dssm-lightning\[onnx\]"):
        export_bundle(tmp_path / "no.ckpt", tmp_path / "bundle")


def test_what_ends_an_export_is_found_before_the_checkpoint_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="vectors is 'int4'"):
        export_bundle(tmp_path / "no.ckpt", tmp_path / "bundle", vectors="int4")
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(UserError, match="exists"):
        export_bundle(tmp_path / "no.ckpt", tmp_path)


@pytest.mark.slow
def test_from_a_run_to_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finished and tested; and interrupted, which is said."""
    monkeypatch.chdir(tmp_path)
    main(["fit", "--config", str(write_config(tmp_path / "texts.yaml", trainer={"max_epochs": 2}))])
    main(["test"])
    run = tmp_path / "runs" / "texts" / "version_0"
    checkpoint = run / "checkpoints" / "best.ckpt"
    export_bundle(checkpoint, tmp_path / "bundle")
    wanted, found = load_retriever(checkpoint), Retriever.load(tmp_path / "bundle")
    same_answers(found, wanted, ["bada gupo", "list"], k=20)
    assert found.corpus.rows.columns[0] == "candidate_id"
    card = (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
    measured = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["test/recall@10"]
    assert f"{measured:.4f}" in card
    saved = json.loads((tmp_path / "bundle" / "metrics.json").read_text(encoding="utf-8"))
    assert saved["metrics"]["test/recall@10"] == measured
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text(encoding="utf-8"))
    assert manifest["source"] == {"checkpoint": "best.ckpt", "run": "texts/version_0"}
    status = json.loads((run / "status.json").read_text(encoding="utf-8"))
    (run / "status.json").write_text(json.dumps({**status, "state": "running"}), encoding="utf-8")
    with pytest.warns(UserWarning, match=r"texts/version_0 is not finished.*the bundle says so"):
        export_bundle(checkpoint, tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / MANIFEST).read_text(encoding="utf-8"))
    assert "texts/version_0" in manifest["source"]["status"]
    assert str(tmp_path) not in manifest["source"]["status"]
    assert manifest["source"]["status"] in (tmp_path / "bundle" / "README.md").read_text(encoding="utf-8")
