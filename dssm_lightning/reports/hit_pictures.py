"""A picture of search results: each row has a query's text and the pictures of the query's hits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TypeAlias

import PIL.Image
import polars as pl
from PIL import ImageDraw, ImageFont
from torch import Tensor

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.features import Image
from dssm_lightning.retrieval.retriever import Hit
from dssm_lightning.utils.errors import UserError

Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Lengths are pixels of the PNG. A README shows the PNG at half its size, for screens of high resolution.
MARGIN, QUERY_WIDTH, CELL, GAP, THUMB = 40, 320, 216, 20, 144
TITLE, CAPTION, SCORE = 34, 22, 20  # font sizes
INK, GREY, LINE, CARD = "#1f2328", "#6b7280", "#e5e7eb", "#f6f7f9"
FURTHER_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf")
"""Fonts for letters that Pillow's own, Western European font lacks; a font that the machine lacks is skipped."""


def picture_feature(data: RetrievalData) -> Image:
    """Return the candidates' first Image feature.

    Raises:
        UserError: the candidates have no Image feature.
    """
    for feature in data.recipe.candidate:
        if isinstance(feature, Image):
            return feature
    raise UserError(
        "--picture needs candidates with an Image feature; their features are "
        f"{', '.join(f'{feature.name} ({type(feature).__name__})' for feature in data.recipe.candidate)}"
    )


def draw_hits(queries: Sequence[str], answers: Sequence[Sequence[Hit]], data: RetrievalData, path: Path) -> None:
    """Write one PNG with a row for each query: its text, then its hits with captions and scores.

    The pictures are the model's input: those of the prepared data, in the feature's size.

    Args:
        queries: texts, one for each row.
        answers: hits of each query, best first; the same number for each query.
        data: the data module whose corpus was searched.
        path: the PNG to write; missing folders are made.

    Raises:
        UserError: the candidates have no Image feature; or ``path`` does not end in .png.
    """
    pictures = data.data.candidate[picture_feature(data).name]
    assert isinstance(pictures, Tensor)
    require_png(path)
    heights = [_row_height(query, hits) for query, hits in zip(queries, answers, strict=True)]
    width = 2 * MARGIN + QUERY_WIDTH + max(map(len, answers), default=0) * (CELL + GAP)
    canvas = PIL.Image.new("RGB", (width, 2 * MARGIN + sum(heights) + GAP * (len(heights) - 1)), "white")
    draw, top = ImageDraw.Draw(canvas), MARGIN
    for place, (query, hits, height) in enumerate(zip(queries, answers, heights, strict=True)):
        if place:
            draw.line((MARGIN, top - GAP // 2, width - MARGIN, top - GAP // 2), LINE, 2)
        lines = _wrapped(query, TITLE, QUERY_WIDTH - GAP, at_most=4)
        _write(draw, lines, (MARGIN, top + (height - len(lines) * _line(TITLE)) // 2), TITLE, INK)
        for column, (hit, row) in enumerate(zip(hits, _corpus_rows(hits, data), strict=True)):
            left = MARGIN + QUERY_WIDTH + column * (CELL + GAP)
            _draw_hit(canvas, draw, hit, as_picture(pictures[row]), (left, top))
        top += height + GAP
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.save(path)


def require_png(path: Path) -> None:
    """Refuse a file name that does not end in .png.

    Raises:
        UserError: another suffix.
    """
    if path.suffix.lower() != ".png":
        raise UserError(f"--picture {path}: the picture is a PNG, give a name that ends in .png")


def as_picture(pixels: Tensor) -> PIL.Image.Image | None:
    """Convert pixels (channels + 1, size, size) uint8 to RGB on white; None for a candidate without a picture.

    The last plane of the pixels is the coverage: 0 where there is no picture.

    Example:
        >>> import torch
        >>> as_picture(torch.full((2, 4, 4), 255, dtype=torch.uint8)).getpixel((0, 0))
        (255, 255, 255)
    """
    if not pixels[-1].any():
        return None
    colours = pixels[:-1].permute(1, 2, 0).numpy()  # (size, size, channels)
    picture = PIL.Image.fromarray(colours.squeeze(2) if colours.shape[2] == 1 else colours)
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def _corpus_rows(hits: Sequence[Hit], data: RetrievalData) -> list[int]:
    ids = data.candidates.to_series(0)
    found = pl.Series([hit.id for hit in hits], dtype=ids.dtype)
    rows: list[int] = found.replace_strict(ids, pl.int_range(len(ids), eager=True)).to_list()
    return rows


# -- one hit ----------------------------------------------------------------------------------------------------------


def _row_height(query: str, hits: Sequence[Hit]) -> int:
    longest = max((len(_caption_lines(hit)) for hit in hits), default=1)
    cell = 2 * GAP + THUMB + longest * _line(CAPTION) + _line(SCORE) + GAP
    return max(cell, len(_wrapped(query, TITLE, QUERY_WIDTH - GAP, at_most=4)) * _line(TITLE))


def _draw_hit(
    canvas: PIL.Image.Image, draw: ImageDraw.ImageDraw, hit: Hit, picture: PIL.Image.Image | None, at: tuple[int, int]
) -> None:
    left, top = at
    place = (left + (CELL - THUMB) // 2, top + GAP)
    if picture is None:
        draw.rounded_rectangle((*place, place[0] + THUMB, place[1] + THUMB), 16, CARD)
        _write(draw, ["no picture"], (left, place[1] + (THUMB - _line(SCORE)) // 2), SCORE, GREY, centred=True)
    else:
        canvas.paste(picture.resize((THUMB, THUMB), PIL.Image.Resampling.LANCZOS), place)
    lines = _caption_lines(hit)
    below = place[1] + THUMB + GAP
    _write(draw, lines, (left, below), CAPTION, INK, centred=True)
    score = f"{hit.score:.2f}" if abs(hit.score) >= 1 else f"{hit.score:.3f}"  # cosines need the third
    _write(draw, [score], (left, below + len(lines) * _line(CAPTION)), SCORE, GREY, centred=True)


def _caption_lines(hit: Hit) -> list[str]:
    return _wrapped(_caption(hit), CAPTION, CELL, at_most=2)


def _caption(hit: Hit) -> str:
    """Return the displayed texts that a font here can write and that have a letter or digit; else the hit's id."""
    texts = [str(value) for value in hit.display.values() if value is not None]
    readable = [text for text in texts if any(map(str.isalnum, text)) and _can_write(_font(text, CAPTION), text)]
    return " · ".join(readable) or str(hit.id)


# -- text -------------------------------------------------------------------------------------------------------------


@cache
def _fonts(size: int) -> list[Font]:
    found: list[Font] = [ImageFont.load_default(size)]
    for name in FURTHER_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:  # this machine does not have the font
            continue
    return found


def _font(text: str, size: int) -> Font:
    """Return the first font with every letter of the text; else Pillow's own, which draws boxes for other letters."""
    fonts = _fonts(size)
    return next((font for font in fonts if _can_write(font, text)), fonts[0])


def _can_write(font: Font, text: str) -> bool:
    missing = bytes(font.getmask("\uffff"))  # not a letter: fonts draw their box for missing letters
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(text))


def _line(size: int) -> int:
    return round(1.3 * size)


def _wrapped(text: str, size: int, width: int, at_most: int) -> list[str]:
    """Break a text between words into lines no wider than ``width``; text that does not fit is replaced by ``…``."""
    font, lines = _font(text, size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line] or [""]
    if len(lines) > at_most:  # the rest joined is too wide for one line: `_shortened` ends it with …
        lines = [*lines[: at_most - 1], " ".join(lines[at_most - 1 :])]
    return [_shortened(line, font, width) for line in lines]


def _shortened(line: str, font: Font, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}…") > width:
        line = line[:-1].rstrip()
    return f"{line}…"


def _write(
    draw: ImageDraw.ImageDraw, lines: Sequence[str], at: tuple[int, int], size: int, colour: str, centred: bool = False
) -> None:
    left, top = at
    for number, line in enumerate(lines):
        font = _font(line, size)
        x = left + (CELL - font.getlength(line)) / 2 if centred else left
        draw.text((x, top + number * _line(size)), line, colour, font)
