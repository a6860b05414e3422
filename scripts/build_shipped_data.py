"""Rebuild the Parquet files that ship with the package from the raw files of emoji and tldr.

    python scripts/build_shipped_data.py --data "$DSSM_DATA"

``--data`` holds ``emoji/`` (``items.tsv``, ``queries.tsv``, ``noto64/*.png``) and ``tldr/`` (``pages.tsv``,
``examples.tsv``, ``heldout_queries.txt``). The same raw files give the same tables, whatever wrote the old ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

SHIPPED = Path(__file__).resolve().parents[1] / "dssm_lightning" / "data" / "sources" / "shipped"


def emoji_candidates(folder: Path) -> pl.DataFrame:
    """One row for each emoji, with its characters and its picture."""
    items = _tsv(folder / "items.tsv")
    characters = ["".join(chr(int(point, 16)) for point in unified.split("-")) for unified in items["unified"]]
    pictures = [(folder / name).read_bytes() for name in items["noto_png"]]
    return items.select(
        "unified",
        pl.Series("emoji", characters, dtype=pl.String),
        "name",
        "category",
        "subcategory",
        pl.Series("picture", pictures, dtype=pl.Binary),
    )


def emoji_queries(folder: Path) -> pl.DataFrame:
    """One row for each label or tag of an emoji in a language."""
    return _tsv(folder / "queries.tsv").select("lang", "kind", "query", "unified")


def tldr_pages(folder: Path) -> pl.DataFrame:
    """One row for each page."""
    return _tsv(folder / "pages.tsv").select("page_id", "platform", "title", "description")


def tldr_examples(folder: Path) -> pl.DataFrame:
    """One row for each example of a page, with its published fold."""
    held_out = (folder / "heldout_queries.txt").read_text(encoding="utf-8").rstrip("\n").split("\n")
    fold = pl.when(pl.col("example_text").is_in(held_out)).then(pl.lit("test")).otherwise(pl.lit("train"))
    return _tsv(folder / "examples.tsv").select(pl.col("example_text").alias("query"), "page_id", fold.alias("heldout"))


def _tsv(path: Path) -> pl.DataFrame:
    """All text, and a quotation mark is a letter."""
    return pl.read_csv(path, separator="\t", quote_char=None, infer_schema=False)


def build(data: Path, shipped: Path) -> dict[str, int]:
    """Write all files.

    Args:
        data: folder of raw files.
        shipped: folder to write into.

    Returns:
        Bytes of each written file.
    """
    tables = {
        "emoji.parquet": emoji_candidates(data / "emoji"),
        "emoji_queries.parquet": emoji_queries(data / "emoji"),
        "tldr_pages.parquet": tldr_pages(data / "tldr"),
        "tldr_examples.parquet": tldr_examples(data / "tldr"),
    }
    shipped.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.write_parquet(shipped / name, compression="zstd", compression_level=22)
    return {name: (shipped / name).stat().st_size for name in tables}


def main(args: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds emoji/ and tldr/")
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder to write into (default: the package's)")
    options = parser.parse_args(args)
    for name, size in build(options.data, options.out).items():
        print(f"{size:>10,}  {name}")


if __name__ == "__main__":
    main()
