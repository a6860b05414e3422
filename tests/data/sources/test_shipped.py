"""Shipped data: built from raw files, small enough, with the notices that the licences require."""

from __future__ import annotations

import importlib.util
import os
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from helpers.paths import SCRIPTS
from polars.testing import assert_frame_equal

SHIPPED = Path(str(files("dssm_lightning.data.sources") / "shipped"))
PARQUET = ["emoji.parquet", "emoji_queries.parquet", "tldr_examples.parquet", "tldr_pages.parquet"]
RAW = {
    "emoji/items.tsv": "unified\tname\tshort_names\tcategory\tsubcategory\tnoto_png\n"
    "1F1E6-1F1E8\tflag: ascension\tflag-ac\tFlags\tcountry\tnoto64/ac.png\n"
    'A9\ta "quoted" sign\tc\tSymbols\tother\tnoto64/a9.png\n',
    "emoji/noto64/ac.png": "picture of a flag",
    "emoji/noto64/a9.png": "picture of a sign",
    "emoji/queries.tsv": 'lang\tkind\tquery\tunified\nen\tlabel\tsign\tA9\nru\ttag\t"знак"\tA9\n',
    "tldr/pages.tsv": "page_id\tplatform\ttitle\tdescription\tn_examples\ncommon/a\tcommon\ta\tDo.\t2\n",
    "tldr/examples.tsv": "page_id\texample_text\tcommand\ncommon/a\tDo 1\ta 1\ncommon/a\tDo 12\ta 12\n",
    "tldr/heldout_queries.txt": "Do 12\n",
}


def script() -> ModuleType:
    path = SCRIPTS / "build_shipped_data.py"
    spec = importlib.util.spec_from_file_location("build_shipped_data", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_built_from_raw_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, text in RAW.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text(text, encoding="utf-8")
    out = tmp_path / "out"
    script().main(["--data", str(tmp_path / "raw"), "--out", str(out)])
    assert all(name in capsys.readouterr().out or (out / name).is_file() for name in PARQUET)
    assert pl.read_parquet(out / "emoji.parquet").rows() == [
        ("1F1E6-1F1E8", "\U0001f1e6\U0001f1e8", "flag: ascension", "Flags", "country", b"picture of a flag"),
        ("A9", "©", 'a "quoted" sign', "Symbols", "other", b"picture of a sign"),
    ]
    assert pl.read_parquet(out / "emoji_queries.parquet").rows() == [
        ("en", "label", "sign", "A9"),
        ("ru", "tag", '"знак"', "A9"),
    ]
    assert pl.read_parquet(out / "tldr_pages.parquet").rows() == [("common/a", "common", "a", "Do.")]
    assert pl.read_parquet(out / "tldr_examples.parquet").rows() == [
        ("Do 1", "common/a", "train"),
        ("Do 12", "common/a", "test"),
    ]


def test_the_shipped_tables_equal_the_tables_of_the_raw_files(tmp_path: Path) -> None:
    data = Path(os.environ.get("DSSM_DATA", "."))
    if not (data / "emoji").is_dir() or not (data / "tldr").is_dir():
        pytest.skip("the raw files are missing: DSSM_DATA names no folder with emoji and tldr")
    script().build(data, tmp_path)
    for name in PARQUET:
        assert_frame_equal(pl.read_parquet(tmp_path / name), pl.read_parquet(SHIPPED / name))


def test_the_shipped_files_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in SHIPPED.glob("*.parquet")}
    assert sorted(sizes) == PARQUET
    assert sizes["emoji.parquet"] + sizes["emoji_queries.parquet"] <= 8_000_000
    assert sizes["tldr_examples.parquet"] + sizes["tldr_pages.parquet"] <= 2_000_000


def test_the_shipped_tables_have_no_missing_values() -> None:
    for name in PARQUET:
        table = pl.read_parquet(SHIPPED / name)
        assert sum(table.null_count().row(0)) == 0, name
    assert pl.read_parquet(SHIPPED / "emoji_queries.parquet")["lang"].n_unique() == 28


def test_the_notices_are_complete() -> None:
    notice = (SHIPPED / "NOTICE.md").read_text(encoding="utf-8")
    for needed in (
        "Noto Emoji",
        "Apache License 2.0",
        "Copyright (c) 2013 Cal Henderson",
        "Copyright (c) 2017-2019 Miles Johnson",
        "UNICODE LICENSE V3",
        "Creative Commons Attribution 4.0",
        "tldr-pages team",
        *PARQUET,
    ):
        assert needed in notice, needed
