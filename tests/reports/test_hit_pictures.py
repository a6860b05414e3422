"""Hits as pictures, and the search command that draws them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import polars as pl
import pytest
import torch
from PIL import ImageFont

from dssm_lightning.cli.main import main
from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.data.sources import Frames
from dssm_lightning.data.splits import RandomRows
from dssm_lightning.features import HashedWords, Image
from dssm_lightning.reports import hit_pictures
from dssm_lightning.retrieval.retriever import Hit

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


def png(colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), colour).save(out, "PNG")
    return out.getvalue()


def tables() -> dict[str, pl.DataFrame]:
    names = [*COLOURS, "none"]
    return {
        "interactions": pl.DataFrame({"query_id": names, "candidate_id": names}),
        "queries": pl.DataFrame({"query_id": names, "text": names}),
        "candidates": pl.DataFrame(
            {"candidate_id": names, "name": names, "picture": [*map(png, COLOURS.values()), None]}
        ),
    }


@pytest.fixture
def data(tmp_path: Path) -> RetrievalDataModule:
    features = [HashedWords(name="name", num_buckets=50), Image(name="picture", size=16)]
    split = RandomRows(test=0.25, validation=0.0)
    query = [HashedWords(name="text", num_buckets=50)]
    return RetrievalDataModule(Frames(**tables()), query, features, split, cache_dir=str(tmp_path / "cache"))


def hit(name: str, score: float = 0.5) -> Hit:
    return Hit(name, score, {"name": name})


def thumbnails(path: Path, rows: int, columns: int) -> list[list[tuple[int, ...]]]:
    """The colour in the middle of each picture, found by the layout's arithmetic."""
    image = PIL.Image.open(path).convert("RGB")
    height = (image.height - 2 * hit_pictures.MARGIN - (rows - 1) * hit_pictures.GAP) // rows
    found = []
    for row in range(rows):
        y = hit_pictures.MARGIN + row * (height + hit_pictures.GAP) + hit_pictures.GAP + hit_pictures.THUMB // 2
        cells = [
            hit_pictures.MARGIN
            + hit_pictures.QUERY_WIDTH
            + column * (hit_pictures.CELL + hit_pictures.GAP)
            + hit_pictures.CELL // 2
            for column in range(columns)
        ]
        found.append([image.getpixel((x, y)) for x in cells])
    return found  # type: ignore[return-value]  # an RGB picture's pixels are triples


def test_each_row_shows_its_own_hits_in_order(data: RetrievalDataModule, tmp_path: Path) -> None:
    path = tmp_path / "new" / "hits.png"
    answers = [[hit("blue"), hit("red")], [hit("green"), hit("blue")]]
    hit_pictures.draw_hits(["first", "second"], answers, data, path)
    assert thumbnails(path, 2, 2) == [[COLOURS["blue"], COLOURS["red"]], [COLOURS["green"], COLOURS["blue"]]]


def test_a_candidate_without_picture_gets_a_placeholder(data: RetrievalDataModule, tmp_path: Path) -> None:
    hit_pictures.draw_hits(["q"], [[hit("none"), hit("red")]], data, tmp_path / "hits.png")
    image = PIL.Image.open(tmp_path / "hits.png").convert("RGB")
    left = hit_pictures.MARGIN + hit_pictures.QUERY_WIDTH + hit_pictures.CELL // 2
    assert image.getpixel((left, hit_pictures.MARGIN + 2 * hit_pictures.GAP)) == (0xF6, 0xF7, 0xF9)


@pytest.mark.parametrize("text", ["кошка", "猫がわらう", "😺", "\u202eabc", "a\x00b", "", "x" * 400, "word " * 100])
def test_any_text_can_be_drawn(text: str, data: RetrievalDataModule, tmp_path: Path) -> None:
    found = [Hit("red", 1234.5, {"name": text, "other": None})]
    hit_pictures.draw_hits([text], [found], data, tmp_path / "hits.png")
    assert thumbnails(tmp_path / "hits.png", 1, 1) == [[COLOURS["red"]]]


def test_texts_that_no_font_can_write_are_left_out_of_the_caption() -> None:
    assert hit_pictures._caption(Hit("1F63A", 1.0, {"emoji": "😺", "name": "cat", "n": 3})) == "cat · 3"
    assert hit_pictures._caption(Hit("1F63A", 1.0, {"emoji": "😺"})) == "1F63A"


def test_without_further_fonts_pillows_font_draws_every_text(
    data: RetrievalDataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hit_pictures, "FURTHER_FONTS", ("no such font.ttf",))
    hit_pictures._fonts.cache_clear()
    try:
        assert hit_pictures._caption(Hit("7", 1.0, {"name": "кошка", "kind": "cat"})) == "cat"
        hit_pictures.draw_hits(["кошка"], [[hit("red")]], data, tmp_path / "hits.png")
    finally:
        hit_pictures._fonts.cache_clear()
    assert thumbnails(tmp_path / "hits.png", 1, 1) == [[COLOURS["red"]]]


def test_lines_are_no_wider_than_the_width() -> None:
    font = ImageFont.load_default(20)
    lines = hit_pictures._wrapped("a name with more words than three lines of this width can hold", 20, 100, at_most=3)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 100 for line in lines)
    assert lines[-1].endswith("…")
    assert hit_pictures._wrapped("two words", 20, 100, at_most=3) == ["two words"]


@pytest.mark.parametrize(
    ("channels", "values", "colour"),
    [(1, (7,), (7, 7, 7)), (3, (1, 2, 3), (1, 2, 3)), (4, (1, 2, 3, 0), (255, 255, 255))],
)
def test_grey_colour_and_transparent_pictures(
    channels: int, values: tuple[int, ...], colour: tuple[int, int, int]
) -> None:
    pixels = torch.zeros(channels + 1, 2, 2, dtype=torch.uint8)
    pixels[:-1] = torch.tensor(values, dtype=torch.uint8)[:, None, None]
    assert hit_pictures.as_picture(pixels) is None  # no coverage
    pixels[-1] = 255
    picture = hit_pictures.as_picture(pixels)
    assert picture is not None
    assert (np.asarray(picture) == colour).all()


def test_a_corpus_without_pictures_is_refused(tmp_path: Path) -> None:
    text = [HashedWords(name="name", num_buckets=50)]
    data = RetrievalDataModule(Frames(**tables()), [HashedWords(name="text", num_buckets=50)], text, RandomRows())
    with pytest.raises(ValueError, match=r"--picture.*name \(HashedWords\)"):
        hit_pictures.picture_feature(data)


def test_a_picture_file_must_be_a_png() -> None:
    with pytest.raises(ValueError, match=r"--picture hits\.jpg: .*\.png"):
        hit_pictures.require_png(Path("hits.jpg"))


CONFIG = """
data:
  source: {class_path: Synthetic, init_args: {num_queries: 20, num_candidates: 20}}
  split: {class_path: RandomRows, init_args: {test: 0.1, validation: 0.0}}
  query:
    - {class_path: HashedWords, init_args: {name: text, num_buckets: 50}}
  candidate:
    - {class_path: HashedWords, init_args: {name: text, num_buckets: 50}}
    - {class_path: Image, init_args: {name: picture, size: 32}}
model:
  query_tower: {class_path: Tower, init_args: {fusion: Concat, output_dim: 4}}
  candidate_tower: {class_path: Tower, init_args: {fusion: Concat, output_dim: 4}}
  scorer: Dot
  loss: SampledSoftmax
  optimizer: {class_path: torch.optim.Adam}
trainer:
  accelerator: cpu
  max_steps: 1
  enable_progress_bar: false
  enable_model_summary: false
  log_every_n_steps: 1
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a run."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "tiny.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main(["fit", "--config", "tiny.yaml"])
    return folder


@pytest.mark.parametrize(
    ("options", "titles"),
    [
        (["--query", "bada"], ["bada"]),
        (["--query", '{"text": "bada"}'], ['{"text": "bada"}']),
        (["--query", "a: b", "--query=12", "--query", "null"], ["a: b", "12", "null"]),
        (["--query", "one", "two"], ["one", "two"]),
    ],
)
def test_search_takes_several_queries_and_draws_them(
    options: list[str],
    titles: list[str],
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(trained)
    capsys.readouterr()
    answers = main(["search", *options, "--k", "3", "--json", "--picture", "out/hits.png"])
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["query"] for line in lines] == titles
    assert [[each["id"] for each in line["hits"]] for line in lines] == [[each.id for each in hits] for hits in answers]
    assert all(len(line["hits"]) == 3 for line in lines)
    with PIL.Image.open("out/hits.png") as image:
        width = image.width
    assert width == 2 * hit_pictures.MARGIN + hit_pictures.QUERY_WIDTH + 3 * (hit_pictures.CELL + hit_pictures.GAP)


def test_search_prints_a_table_without_json(
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(trained)
    main(["search", "--query", "bada", "--k", "2", "--picture", "hits.png"])
    assert "score" in capsys.readouterr().out
    assert "the hits as pictures: hits.png" in caplog.text
