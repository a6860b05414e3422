"""EmojiStyles: drawings of a folder find Noto's pictures; variants have one base; two folders of one's own."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import PIL.Image
import polars as pl
import pytest
import torch

from dssm_lightning import Tower
from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.data.sources import Emoji, EmojiStyles, Files
from dssm_lightning.data.splits import HashedQueries
from dssm_lightning.features import Image
from dssm_lightning.features.schema import Schema, Schemas
from dssm_lightning.models.fusion import Concat
from dssm_lightning.models.scorers import Dot
from dssm_lightning.models.tower_checks import check_equal_features
from dssm_lightning.models.two_tower import TwoTowerModel

CORPUS = Emoji().tables().candidates
assert CORPUS is not None


def drawn(folder: Path, names: list[str]) -> EmojiStyles:
    """Write a file of its own for each emoji of these names."""
    rows = CORPUS.filter(pl.col("name").is_in(names))
    assert len(rows) >= len(names)
    for unified in rows["unified"]:
        (folder / f"{unified.lower()}.png").write_bytes(unified.encode())
    return EmojiStyles(str(folder))


def bases(folder: Path, names: list[str]) -> list[str]:
    queries: Any = drawn(folder, names).tables().queries
    return sorted(set(queries["base"]))


def test_each_drawing_finds_the_picture_of_its_emoji(tmp_path: Path) -> None:
    source = drawn(tmp_path, ["grinning face", "hash key"])
    (tmp_path / "1f44b-1f3fb.png").write_bytes(b"a waving hand with a skin tone: no candidate")
    tables = source.tables().resolve(["drawing", "base"], ["picture"])
    found = tables.interactions.join(tables.queries, on="drawing_id")
    assert sorted(found.select("drawing_id", "unified", "drawing").rows()) == [
        ("0023-fe0f-20e3", "0023-FE0F-20E3", b"0023-FE0F-20E3"),
        ("1f600", "1F600", b"1F600"),
    ]
    assert len(tables.candidates) == 1911
    assert tables.display == ("emoji", "name")


@pytest.mark.parametrize(
    "variants",
    [
        ["runner", "man running", "woman running", "person running facing right", "woman running facing right"],
        ["cook", "man cook", "woman cook"],
        ["family: man, boy", "family", "couple with heart", "women holding hands"],
        ["norway flag", "svalbard & jan mayen flag", "bouvet island flag"],  # of equal pictures
        ["adult", "man", "woman"],
    ],
)
def test_variants_have_one_base(variants: list[str], tmp_path: Path) -> None:
    known = CORPUS.filter(pl.col("name").is_in(variants))["name"].to_list()
    assert len(bases(tmp_path, known)) == 1


def test_what_is_no_variant_has_its_own_base(tmp_path: Path) -> None:
    names = ["female sign", "male sign", "black rightwards arrow", "cook", "singer", "runner", "sweden flag"]
    assert len(bases(tmp_path, names)) == len(names)


def test_equal_drawings_join_whole_bases(tmp_path: Path) -> None:
    source = drawn(tmp_path, ["cook", "man cook", "singer", "woman singer", "runner"])
    for unified in ("1F468-200D-1F373", "1F9D1-200D-1F3A4"):  # man cook, singer
        (tmp_path / f"{unified.lower()}.png").write_bytes(b"the same")
    queries: Any = source.tables().queries
    assert queries["base"].n_unique() == 2


def test_bases_join_by_way_of_other_bases(tmp_path: Path) -> None:
    """The cat is drawn as one cyclist, and the one who stands as the other cyclist."""
    drawings = {"1f431": b"a", "1f6b4-200d-2640-fe0f": b"a", "1f6b4-200d-2642-fe0f": b"b", "1f9cd": b"b", "1f436": b"c"}
    for name, drawing in drawings.items():
        (tmp_path / f"{name}.png").write_bytes(drawing)
    queries: Any = EmojiStyles(str(tmp_path)).tables().queries
    found = dict(queries.select("drawing_id", "base").iter_rows())
    assert found.pop("1f436") == "1F436"
    assert set(found.values()) == {"1F431"}


def test_variants_share_a_fold(tmp_path: Path) -> None:
    names = CORPUS.filter(pl.col("category") == "People & Body")["name"].to_list()
    tables = drawn(tmp_path, names).tables().resolve(["base"], [])
    folds = HashedQueries(test=0.2, validation=0.2, column="base").assign(tables)
    rows = tables.interactions.join(tables.queries, on="drawing_id", maintain_order="left").with_columns(fold=folds)
    assert rows["fold"].n_unique() == 3
    assert rows.group_by("base").agg(pl.col("fold").n_unique())["fold"].max() == 1


def test_a_folder_without_drawings_says_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=rf"EmojiStyles: {tmp_path} .*npm install emoji-datasource-twitter"):
        EmojiStyles(str(tmp_path)).tables()
    monkeypatch.setenv("DSSM_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere.emoji.twemoji64 .*CC BY 4.0.*`folder`.*DSSM_DATA"):
        EmojiStyles().fingerprint()


def test_the_fingerprint_follows_the_files(tmp_path: Path) -> None:
    source = drawn(tmp_path, ["runner", "cook"])
    before = source.fingerprint()
    assert before == EmojiStyles(str(tmp_path)).fingerprint()
    os.utime(tmp_path / "1f3c3.png", ns=(1, 1))
    assert before != source.fingerprint()


# -- two folders of one's own ------------------------------------------------------------------------------------------


def two_folders(root: Path) -> Files:
    for folder, ending in (("photos", "jpg"), ("drawings", "png")):
        (root / folder).mkdir()
        for number in range(12):
            colour = (20 * number, 255 - 20 * number, 128)
            PIL.Image.new("RGB", (8, 8), colour).save(root / folder / f"thing{number:02}.{ending}")
    return Files(str(root / "drawings"), candidates=str(root / "photos"), query_id="file_name", candidate_id="stem")


def test_two_folders_whose_files_have_equal_names_are_pairs(tmp_path: Path) -> None:
    """One tower reads both, although the folders differ."""
    data = RetrievalData(
        two_folders(tmp_path),
        query=[Image(name="picture", size=32, root=str(tmp_path / "drawings"))],
        candidate=[Image(name="picture", size=32, root=str(tmp_path / "photos"))],
        split=HashedQueries(test=0.2, validation=0.0),
        batch_size=4,
        cache_dir=str(tmp_path / "cache"),
    )
    model = TwoTowerModel(partial(Tower, fusion=Concat, output_dim=4), None, Dot())
    model.build(data.schemas)
    assert model.candidate_tower is model.query_tower
    photos = data.candidates["stem"].to_list()
    rows = data.data.interactions
    assert [photos[row] for row in rows.candidate.tolist()] == [f"thing{number:02}" for number in range(12)]
    drawings, found = data.data.query["picture"], data.data.candidate["picture"]
    assert isinstance(drawings, torch.Tensor)
    assert drawings.shape == found.shape == (12, 4, 32, 32)


def test_one_tower_takes_pictures_of_one_size_from_several_folders() -> None:
    def schemas(**candidate: Any) -> Schemas:
        return Schemas(Schema((Image(name="p", root="a"),)), Schema((Image(name="p", **candidate),)))

    check_equal_features(schemas(root="b", column="photo"))
    with pytest.raises(ValueError, match=r"candidate_tower is null.*columns and roots"):
        check_equal_features(schemas(root="a", size=32))
