"""Small pictures of candidates: made by the export, kept by every change, read without Pillow."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest
from helpers.bundles import change_manifest, copied, export, refit_manifest
from helpers.paths import GOLDEN
from helpers.retrievers import shop, shop_table

from dssm_lightning.export.candidate_pictures import corpus_pictures, picture_column
from dssm_lightning.features import HashedTrigrams, Image
from dssm_lightning.features.small_pictures import small_picture
from dssm_lightning.retrieval.bundle.manifest import read_manifest
from dssm_lightning.retrieval.bundle.reading import CORPUS
from dssm_lightning.retrieval.candidate_pictures import PICTURE_OFFSETS, PICTURES, CandidatePictures, media_type
from dssm_lightning.retrieval.retriever import Retriever
from dssm_lightning.utils.errors import UserError

BROKEN, MISSING = 3, 4
"""The candidates whose picture file is damaged, and who have none."""


def png(number: int, size: tuple[int, int] = (320, 200), mode: str = "RGB") -> bytes:
    """A picture of one colour."""
    file = io.BytesIO()
    colour = {"RGB": (number * 7, 80, 200), "RGBA": (number * 7, 80, 200, 0), "L": number * 7}[mode]
    PIL.Image.new(mode, size, colour).save(file, "PNG")
    return file.getvalue()


def table_of(count: int = 12) -> pl.DataFrame:
    """Candidates with the bytes of pictures."""
    pictures: list[bytes | None] = [png(number) for number in range(count)]
    pictures[BROKEN], pictures[MISSING] = b"no picture", None
    return shop_table(count).with_columns(pl.Series("photo", pictures, dtype=pl.Binary))


def opened(picture: bytes | None) -> PIL.Image.Image:
    assert picture is not None
    return PIL.Image.open(io.BytesIO(picture))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of twelve candidates, ten of which have a picture; no feature reads it."""
    place = tmp_path_factory.mktemp("pictures")
    return export(*shop(place / "cache", table_of()), place / "bundle", picture="photo")


# -- one picture -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "wanted"), [((320, 200), (160, 100)), ((200, 800), (40, 160)), ((64, 48), (64, 48)), ((9000, 1), (160, 1))]
)
def test_a_picture_is_made_smaller_and_never_larger(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert opened(small_picture(png(1, size))).size == wanted


def test_transparency_is_kept() -> None:
    assert np.asarray(opened(small_picture(png(1, mode="RGBA"))))[..., 3].max() == 0
    assert opened(small_picture(png(1))).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("webp", [True, False])
def test_the_same_picture_has_the_same_bytes(mode: str, webp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.features.check", lambda name: webp)
    made = small_picture(png(5, mode=mode))
    assert made == small_picture(png(5, mode=mode))
    assert media_type(made) == ("image/webp" if webp else "image/png")
    assert PIL.Image.open(io.BytesIO(made)).format == ("WEBP" if webp else "PNG")


def test_what_a_file_says_beside_its_pixels_is_left_out() -> None:
    file = io.BytesIO()
    exif = PIL.Image.Exif()
    exif[0x010F] = "a secret camera"
    PIL.Image.new("RGB", (9, 9)).save(file, "JPEG", exif=exif, icc_profile=b"a secret profile" * 99)
    made = small_picture(file.getvalue())
    assert b"secret" not in made
    assert len(made) < 500


# -- the export --------------------------------------------------------------------------------------------------------


def test_every_readable_picture_is_in_the_bundle(bundle: Path) -> None:
    retriever = Retriever.load(bundle)
    for number in range(12):
        picture = retriever.picture(f"i{number}")
        assert (picture is None) == (number in (BROKEN, MISSING))
        if picture is not None:
            red, green, blue = opened(picture).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]  # RGB
            assert abs(red - number * 7) < 9
            assert (abs(green - 80) < 9, abs(blue - 200) < 9) == (True, True)
    pictures = retriever.corpus.pictures
    assert pictures is not None
    assert (pictures.count, len(pictures), pictures.column) == (10, 12, "photo")
    assert pictures.at(0) == retriever.picture("i0")
    assert {f"{CORPUS}/{name}" for name in (PICTURES, PICTURE_OFFSETS)} <= read_manifest(bundle).files.keys()
    with pytest.raises(UserError, match="no candidate has item = 'zz'"):
        retriever.picture("zz")


def test_pictures_are_counted_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, data = shop(tmp_path / "cache", table_of())
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        corpus_pictures(model.schemas.candidate, data, "photo")
    assert "1 of 12 candidates have a picture that cannot be read" in caplog.text
    assert "the 10 bytes: not a picture" in caplog.text
    assert "pictures of 10 of 12 candidates, from column 'photo'" in caplog.text


def test_equal_exports_have_equal_bytes(bundle: Path, tmp_path: Path) -> None:
    model, data = shop(tmp_path / "cache", table_of())
    pictures = corpus_pictures(model.schemas.candidate, data, "photo")
    assert pictures is not None
    pictures.save(tmp_path)
    for name in (PICTURES, PICTURE_OFFSETS):
        assert (tmp_path / name).read_bytes() == (bundle / CORPUS / name).read_bytes()


def test_paths_are_relative_to_the_root_of_the_feature(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A feature of pictures needs no option."""
    (tmp_path / "photos").mkdir()
    for number in range(12):
        (tmp_path / "photos" / f"{number}.png").write_bytes(png(number))
    table = shop_table(12).with_columns(pl.Series("photo", [f"{number}.png" for number in range(12)]))
    features = [
        HashedTrigrams(name="text"),
        Image(name="looks", column="photo", size=32, root=str(tmp_path / "photos")),
    ]
    model, data = shop(tmp_path / "cache", table, candidate=features)
    export(model, data, tmp_path / "bundle")
    retriever = Retriever.load(tmp_path / "bundle")
    assert retriever.corpus.pictures is not None
    assert retriever.corpus.pictures.count == 12
    retriever.add([{"item": "new", "text": "copy", "photo": "7.png"}, {"item": "none", "text": "copy"}])
    assert retriever.picture("new") == retriever.picture("i7") is not None
    assert retriever.picture("none") is None
    assert picture_column(model.schemas.candidate, data, "") is None
    assert picture_column(model.schemas.candidate, data, None) == "photo"


@pytest.mark.parametrize(
    ("column", "message"),
    [("photos", "picture is 'photos'.*did you mean 'photo'"), ("price", "picture is 'price'.*Float64.*paths")],
)
def test_a_wrong_column_is_refused(column: str, message: str, tmp_path: Path) -> None:
    model, data = shop(tmp_path / "cache", table_of())
    with pytest.raises(UserError, match=message):
        export(model, data, tmp_path / "bundle", picture=column)
    assert not (tmp_path / "bundle").exists()


def test_a_column_may_have_no_picture(tmp_path: Path) -> None:
    table = shop_table(12).with_columns(pl.lit(None, pl.Binary).alias("photo"))
    model, data = shop(tmp_path / "cache", table)
    pictures = corpus_pictures(model.schemas.candidate, data, "photo")
    assert pictures is not None
    assert (pictures.count, len(pictures)) == (0, 12)


# -- changes -----------------------------------------------------------------------------------------------------------


def check_later(retriever: Retriever, wanted: dict[str, bytes | None], folder: Path) -> None:
    """The pictures, and those of a saved bundle."""
    retriever.save(folder)
    for each in (retriever, Retriever.load(folder)):
        assert {name: each.picture(name) for name in wanted} == wanted


def test_pictures_follow_their_candidates(bundle: Path, tmp_path: Path) -> None:
    retriever = Retriever.load(bundle)
    before = {f"i{number}": retriever.picture(f"i{number}") for number in range(12)}
    retriever.remove(["i0", f"i{BROKEN}", "i7"])
    kept = {name: picture for name, picture in before.items() if name not in ("i0", f"i{BROKEN}", "i7")}
    check_later(retriever, kept, tmp_path / "removed")
    retriever.add([{"item": "new", "text": "copy", "photo": png(9)}, {"item": "none", "text": "copy"}])
    check_later(retriever, {**kept, "new": small_picture(png(9)), "none": None}, tmp_path / "added")
    retriever.refresh([{"item": "i9", "text": "copy"}, {"item": "i1", "text": "copy", "photo": png(2)}])
    check_later(retriever, {"i9": None, "i1": before["i2"]}, tmp_path / "refreshed")
    retriever.refresh([{"item": "i9", "text": "copy"}])
    check_later(retriever, {"i9": None}, tmp_path / "none")
    assert not (tmp_path / "none" / CORPUS / PICTURES).exists()
    later = Retriever.load(tmp_path / "none")
    later.add([{"item": "new", "text": "copy", "photo": png(9)}])
    check_later(later, {"i9": None, "new": small_picture(png(9))}, tmp_path / "later")


def test_a_picture_that_cannot_be_read_is_none_when_added(bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    retriever = Retriever.load(bundle)
    given: list[dict[str, Any]] = [
        {"item": "a", "text": "copy", "photo": b"damaged"},
        {"item": "b", "text": "copy", "photo": "no/such/file.png"},
        {"item": "c", "text": "copy", "photo": 7},
    ]
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        retriever.add(given)
    assert [retriever.picture(name) for name in "abc"] == [None] * 3
    assert "3 of 3 candidates have a picture that cannot be read" in caplog.text


def test_a_bundle_without_pictures_accepts_no_column_of_them(shop_bundle: Path) -> None:
    retriever = Retriever.load(shop_bundle)
    assert retriever.picture("i1") is None
    with pytest.raises(UserError, match="'photo' is unknown"):
        retriever.add([{"item": "new", "text": "copy", "photo": png(9)}])


def test_bundles_of_earlier_releases_have_no_pictures() -> None:
    retriever = Retriever.load(GOLDEN / "bundle-0.1.0")
    assert retriever.corpus.pictures is None
    assert retriever.picture(retriever.corpus.rows.id(0)) is None


# -- files -------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_read(tmp_path: Path) -> None:
    pictures = CandidatePictures.of("photo", [b"one", None, b"three"])
    pictures.save(tmp_path)
    found = CandidatePictures.load(tmp_path, "photo", 3)
    assert [found.at(row) for row in range(3)] == [b"one", None, b"three"]
    assert (found.count, len(found)) == (2, 3)


@pytest.mark.parametrize(
    ("offsets", "data", "message"),
    [
        ([0, 3], b"one", f"{PICTURE_OFFSETS} has 1 rows; the manifest says 2"),
        ([0, 3, 4], b"one", f"{PICTURE_OFFSETS} does not fit {PICTURES}"),
        ([0, 3, 2], b"on", "does not fit"),
        ([1, 2, 3], b"one", "does not fit"),
        ([0.0, 1.0, 3.0], b"one", "float64"),
        ([0, 0, 0], b"", "missing or empty"),
    ],
)
def test_damaged_files_are_named(offsets: list[float], data: bytes, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / PICTURE_OFFSETS, np.array(offsets))
    (tmp_path / PICTURES).write_bytes(data)
    with pytest.raises(UserError, match=message):
        CandidatePictures.load(tmp_path, "photo", 2)


@pytest.mark.parametrize("name", [PICTURES, PICTURE_OFFSETS])
def test_a_bundle_that_lacks_a_file_of_pictures_is_refused(bundle: Path, tmp_path: Path, name: str) -> None:
    """Also where its manifest does not list the offsets."""
    damaged = copied(bundle, tmp_path / "copy")
    (damaged / CORPUS / name).unlink()
    with pytest.raises(UserError, match=name):
        Retriever.load(damaged)
    refit_manifest(damaged)
    if name == PICTURE_OFFSETS:
        with pytest.raises(UserError, match=name):
            Retriever.load(damaged)
    else:
        assert Retriever.load(damaged).picture("i1") is None


@pytest.mark.parametrize("value", [7, ["photo"], True])
def test_a_column_that_is_no_text_is_refused(bundle: Path, tmp_path: Path, value: object) -> None:
    damaged = copied(bundle, tmp_path / "copy")
    change_manifest(damaged, lambda values: values["corpus"].update(picture_column=value))
    with pytest.raises(UserError, match=r"manifest.json is damaged"):
        read_manifest(damaged)


def test_reading_pictures_needs_neither_pillow_nor_torch(bundle: Path) -> None:
    code = (
        "import sys\nfrom dssm_lightning import Retriever\n"
        f"found = Retriever.load({str(bundle)!r}).picture('i1')\n"
        "print(len(found), *({'PIL', 'torch', 'polars'} & sys.modules.keys()))"
    )
    line = ["timeout", "-k", "5", "100", sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == [str(len(Retriever.load(bundle).picture("i1") or b""))]
