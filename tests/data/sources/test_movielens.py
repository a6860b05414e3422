"""MovieLens: tiny files in the published formats, the original files if available, and the download."""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path

import polars as pl
import pytest

from dssm_lightning.data.sources import MovieLens, movielens
from dssm_lightning.data.sources.download import obtain

GENRES = ["unknown", "Action", "Drama"]
FILES_100K = {
    "u.data": "1\t10\t5\t881250949\n2\t10\t3\t881250950\n2\t11\t4\t881250951\n1\t12\t1\t881250952\n",
    "ua.base": "1\t10\t5\t881250949\n2\t10\t3\t881250950\n",
    "ua.test": "2\t11\t4\t881250951\n",
    "u.user": "1|24|M|technician|01002\n2|53|F|other|T8H1N\n",
    "u.genre": "".join(f"{genre}|{number}\n" for number, genre in enumerate(GENRES)) + "\n",
    "u.item": '10|Misérables, "Les" (1995)|01-Jan-1994||http://x|0|1|1\n'
    "11|No Year|02-Feb-1996|||0|0|1\n"
    "12|unknown||||1|0|0\n",
}
FILES_1M = {
    "ratings.dat": "1::10::5::978300760\n1::11::3::0\n2::10::4::978300275\n",
    "users.dat": "1::F::1::10::01002\n2::M::56::16::98107-2117\n",
    "movies.dat": "10::Café: Metisse (1993)::Comedy\n11::Ten \x85 (1979)::Children's|Comedy\n",
}


def write_files(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode("iso-8859-1"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_files(tmp_path / "ml-100k", FILES_100K)
    write_files(tmp_path / "ml-1m", FILES_1M)
    return tmp_path


# -- formats --------------------------------------------------------------------------------------------------------


def test_100k(root: Path) -> None:
    tables = MovieLens("100k", str(root)).tables().resolve(["user_id", "age"], ["title", "genres"])
    assert tables.interactions.rows() == [
        (1, 10, 5, 881250949, "train"),
        (2, 10, 3, 881250950, "train"),
        (2, 11, 4, 881250951, "test"),
        (1, 12, 1, 881250952, None),
    ]
    assert tables.interactions.columns == ["user_id", "movie_id", "rating", "timestamp", "ua"]
    assert tables.queries.columns == ["user_id", "age", "gender", "occupation", "zip_code"]
    assert tables.queries.rows() == [(1, 24, "M", "technician", "01002"), (2, 53, "F", "other", "T8H1N")]
    assert tables.candidates.columns == ["movie_id", "title", "year", "genres"]
    assert tables.candidates.rows() == [
        (10, 'Misérables, "Les" (1995)', 1995, ["Action", "Drama"]),  # the year of the title has priority
        (11, "No Year", 1996, ["Drama"]),
        (12, "unknown", None, ["unknown"]),
    ]
    assert (tables.keys.time, tables.keys.label, tables.display) == ("timestamp", None, ("title",))


def test_1m(root: Path) -> None:
    tables = MovieLens("1m", str(root)).tables().resolve(["zip_code"], ["title"])
    assert tables.interactions.rows() == [(1, 10, 5, 978300760), (1, 11, 3, 0), (2, 10, 4, 978300275)]
    assert tables.queries.rows() == [(1, 1, "F", 10, "01002"), (2, 56, "M", 16, "98107-2117")]
    assert tables.candidates.rows() == [
        (10, "Café: Metisse (1993)", 1993, ["Comedy"]),
        (11, "Ten \x85 (1979)", 1979, ["Children's", "Comedy"]),
    ]


def test_1m_with_posters_and_abstracts(root: Path) -> None:
    folder = root / "ml-1m"
    (folder / "posters").mkdir()
    assert MovieLens("1m", str(root)).tables().resolve([], ["poster"]).candidates["poster"].null_count() == 2
    (folder / "posters" / "11.jpg").touch()
    (folder / "dbpedia_abstracts.json").write_text(json.dumps({"10": "A film, in Kyōto."}), encoding="utf-8")
    candidates = MovieLens("1m", str(root)).tables().resolve([], ["poster"]).candidates
    assert candidates["poster"].to_list() == [None, str(folder / "posters" / "11.jpg")]
    assert candidates["abstract"].to_list() == ["A film, in Kyōto.", None]


def test_ratings_become_positives_or_labels(root: Path) -> None:
    positives = MovieLens("100k", str(root), min_rating=4).tables()
    assert positives.interactions["rating"].to_list() == [5, 4]
    assert positives.keys.label is None
    labelled = MovieLens("100k", str(root), label_above=3).tables()
    assert labelled.keys.label == "label"
    assert labelled.interactions["label"].to_list() == [1, 0, 1, 0]
    with pytest.raises(ValueError, match=r"MovieLens: min_rating is 4, .*label_above is 3"):
        MovieLens("100k", min_rating=4, label_above=3)


def test_the_root_is_taken_from_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSSM_DATA", str(root))
    assert len(MovieLens("100k").tables().interactions) == 4
    monkeypatch.delenv("DSSM_DATA")
    monkeypatch.chdir(root)
    (root / "data").mkdir()
    (root / "ml-1m").rename(root / "data" / "ml-1m")
    assert len(MovieLens("1m").tables().interactions) == 3


def test_the_fingerprint_depends_on_files_and_arguments(root: Path) -> None:
    first = MovieLens("100k", str(root)).fingerprint()
    assert MovieLens("100k", str(root)).fingerprint() == first
    assert MovieLens("100k", str(root), min_rating=4).fingerprint() != first
    (root / "ml-100k" / "u.data").write_text(FILES_100K["u.data"] + "2\t12\t1\t1\n", encoding="utf-8")
    assert MovieLens("100k", str(root)).fingerprint() != first


# -- originals ------------------------------------------------------------------------------------------------------


def test_the_original_100k(movielens_root: Path) -> None:
    tables = MovieLens("100k", str(movielens_root)).tables().resolve(["user_id"], ["movie_id", "genres"])
    sizes = (len(tables.queries), len(tables.candidates), len(tables.interactions))
    assert sizes == (943, 1682, 100_000)  # u.info
    folds = dict(tables.interactions["ua"].value_counts().rows())
    assert folds == {"train": 90_570, "test": 9_430}  # ten test ratings of each of 943
    assert tables.candidates["genres"].list.len().min() == 1
    assert tables.candidates.filter(pl.col("year").is_null())["title"].to_list() == ["unknown"]
    assert tables.candidates.row(by_predicate=pl.col("movie_id") == 543)[1] == "Misérables, Les (1995)"


def test_the_original_1m(movielens_root: Path) -> None:
    if not (movielens_root / "ml-1m").is_dir():
        pytest.skip("DSSM_DATA holds no ml-1m")
    tables = MovieLens("1m", str(movielens_root), label_above=3).tables().resolve(["user_id"], ["genres"])
    sizes = (len(tables.queries), len(tables.candidates), len(tables.interactions))
    assert sizes == (6040, 3883, 1_000_209)  # its README
    assert tables.candidates["year"].null_count() == 0
    if "poster" in tables.candidates.columns:
        assert Path(tables.candidates["poster"].drop_nulls()[0]).is_file()


# -- download -------------------------------------------------------------------------------------------------------


def make_archive(path: Path, files: dict[str, str]) -> str:
    """Write an archive with a folder ml-100k, and return its MD5."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(f"ml-100k/{name}", text.encode("iso-8859-1"))
    return hashlib.md5(path.read_bytes()).hexdigest()


def visible(folder: Path) -> list[str]:
    """Return the visible names. Lock files remain, because deleting a lock that others wait for would break it."""
    return [each.name for each in folder.iterdir() if not each.name.startswith(".")]


def test_the_archive_is_downloaded_checked_and_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "server.zip"
    monkeypatch.setitem(movielens.MD5, "100k", make_archive(archive, FILES_100K))
    root = tmp_path / "new" / "data"
    source = MovieLens("100k", str(root), url=archive.as_uri())
    assert len(source.tables().interactions) == 4
    assert source.fingerprint() == source.fingerprint()
    assert visible(root) == ["ml-100k"]  # the archive is deleted
    assert not list(root.glob(".*.part"))


def test_an_existing_archive_is_unpacked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(movielens.MD5, "100k", make_archive(tmp_path / "ml-100k.zip", FILES_100K))
    assert len(MovieLens("100k", str(tmp_path), url="file:///no/such/server").tables().interactions) == 4
    assert (tmp_path / "ml-100k.zip").is_file()


def test_the_error_without_network_says_where_to_put_the_archive(tmp_path: Path) -> None:
    source = MovieLens("1m", str(tmp_path), url=(tmp_path / "no server" / "ml-1m.zip").as_uri())
    with pytest.raises(ConnectionError, match=r"ml-1m\.zip .*root.*DSSM_DATA") as caught:
        source.tables()
    assert f"{tmp_path / 'ml-1m.zip'}" in str(caught.value)
    assert visible(tmp_path) == []


def test_the_published_address_and_checksums() -> None:
    assert movielens.URL.format("100k") == "https://files.grouplens.org/datasets/movielens/ml-100k.zip"
    assert movielens.MD5 == {
        "100k": "0e33842e24a9c977be4e0107933c0723",
        "1m": "c4d9eecfca2ab87c1945afe126590906",
    }


def test_an_archive_with_another_checksum_is_an_error(tmp_path: Path) -> None:
    make_archive(tmp_path / "server.zip", FILES_100K)
    source = MovieLens("100k", str(tmp_path / "data"), url=(tmp_path / "server.zip").as_uri())
    with pytest.raises(ValueError, match=r"file:.*server\.zip .*MD5 is \w{32}.*0e33842e24a9c977be4e0107933c0723"):
        source.tables()
    assert visible(tmp_path / "data") == []
    make_archive(tmp_path / "ml-100k.zip", FILES_100K)
    with pytest.raises(ValueError, match=r"ml-100k\.zip .*MD5 is \w{32}"):
        MovieLens("100k", str(tmp_path)).tables()


def test_an_archive_without_the_folder_is_an_error(tmp_path: Path) -> None:
    md5 = make_archive(tmp_path / "other.zip", FILES_100K)
    with pytest.raises(ValueError, match=r"other\.zip .*folder other"):
        obtain(tmp_path / "other", "file:///not/requested", md5)


def test_a_missing_file_is_named(root: Path) -> None:
    (root / "ml-100k" / "u.user").unlink()
    with pytest.raises(FileNotFoundError, match=r"ml-100k lacks u\.user"):
        MovieLens("100k", str(root)).tables()


def test_unknown_variants() -> None:
    with pytest.raises(ValueError, match=r"MovieLens: variant is '10m'; .*100k, 1m"):
        MovieLens("10m")  # type: ignore[arg-type]  # the tested error
