"""Every text is escaped, every figure has a caption, and colours follow the theme."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from dssm_lightning.reports.html_report.page import Page, render, require_writable, write_page
from dssm_lightning.reports.html_report.page_parts import Cell, Example, Figure, Hit, Section, Table
from dssm_lightning.reports.html_report.projector_files import require_projector_folder
from dssm_lightning.reports.html_report.run_record import Note
from dssm_lightning.reports.html_report.svg_drawing import INK, SERIES, Dot, as_svg, drawing, style
from dssm_lightning.reports.html_report.training_advice import Advice

EVIL = "</script></style><img src=x onerror=alert(1)>\x1b&\ud800"
CAPTION = f"How to read this figure, at sufficient length. {EVIL}"


def page(caption: str = CAPTION) -> Page:
    """A page with a hostile text in every place."""
    hit = Hit(EVIL, EVIL, EVIL, True, f"data:image/webp;base64,{EVIL}")
    figures = [
        Figure(EVIL, caption, table=Table([EVIL], [[Cell(EVIL, EVIL), Cell(EVIL, EVIL, EVIL)]]), legend=[(1, EVIL)]),
        Figure(EVIL, caption, examples=[Example(EVIL, [EVIL], [hit], [hit])]),
        Figure(EVIL, caption, drawing=drawn()),
    ]
    notes, advice = [Note(EVIL, EVIL)], [Advice(EVIL, EVIL, EVIL)]
    return Page(EVIL, EVIL, [(EVIL, EVIL, EVIL)], notes, advice, [Section("key", EVIL, figures, EVIL)], EVIL)


def drawn() -> str:
    with drawing(30, 8) as (figure, [axes]):
        text = EVIL.replace("\ud800", "")  # Polars has no such text, and fonts refuse it
        style(axes, text, text, text)
        axes.plot([0, 1], [0, 1], color=SERIES[0])
        axes.set_yticks([0, 1], ["$x^", text], color=INK)
        return as_svg(figure, EVIL, [Dot(0.5, 0.5, 0, EVIL), Dot(0.2, 0.5, 1, EVIL, True)])


def test_no_place_of_the_page_takes_markup() -> None:
    html = render(page())
    assert "<img src=x" not in html
    assert html.count("</script>") == html.count("</style>") == 1
    assert "\x1b" not in html
    tags = set(re.findall(r"<(\w+)", html))
    assert tags.isdisjoint({"iframe", "object", "embed", "base", "form", "foreignObject"})
    assert not re.search(r"<[^>]*\son\w+=", html.replace("onerror=alert(1)&gt;", "")), "no handler in any tag"


def test_the_policy_lets_only_the_pages_own_script_run() -> None:
    html = render(page())
    [script] = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    rules = policy[1].replace("&#39;", "'")
    assert f"script-src 'sha256-{digest}'" in rules
    assert rules.startswith("default-src 'none'")
    assert not re.search(r'(?:src|href)="(?!data:|#)', html), "nothing is loaded"


@pytest.mark.parametrize("caption", ["", "short"])
def test_a_figure_without_a_caption_is_an_error(caption: str) -> None:
    with pytest.raises(AssertionError, match="no caption"):
        render(page(caption))


def test_a_drawing_is_xml_with_texts_and_colours_of_the_theme() -> None:
    svg = drawn()
    root = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    texts = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert "$x^" in texts, "texts stay texts, and are no formula"
    assert "var(--series-1)" in svg
    assert SERIES[0] not in svg
    assert "<metadata>" not in svg
    titles = [element.text for element in root.iter() if element.tag.endswith("title")]
    assert len(titles) == 2
    assert all(title is not None and "onerror=alert(1)" in title for title in titles)


def test_the_page_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "page.html"
    require_writable(path)
    assert not path.exists()
    size = write_page(page(), path)
    assert path.stat().st_size == size
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_files_of_another_program_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "projector_config.pbtxt").write_text('embeddings { tensor_path: "theirs.tsv" }')
    with pytest.raises(ValueError, match=r"--projector .*projector_config.pbtxt of another program"):
        require_projector_folder(tmp_path)
