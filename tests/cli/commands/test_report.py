"""The command `report`: one file that says how good a run is, or names what is missing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers.reported_runs import COLUMN, IMAGE, SCRIPT, reported_run

from dssm_lightning.cli.main import main
from dssm_lightning.training.run_status import RunStatus, write_status

CHROMIUM = next((path for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser") if Path(path).is_file()), None)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tests do not change."""
    return reported_run(tmp_path_factory.mktemp("reported"))


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    """Its report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(run.parents[2])
        assert main(["report", "--output", "out/report.html", "--projector", "points"]) == Path("out/report.html")
    return run.parents[2] / "out" / "report.html"


@pytest.fixture
def copy(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run beside the same tables."""
    monkeypatch.chdir(run.parents[2])
    return Path(shutil.copytree(run, tmp_path / "runs" / "shop" / "version_0"))


def report_of(*words: str) -> str:
    path: Any = main(["report", *words])
    return str(path.read_text(encoding="utf-8"))


def figures_of(html: str) -> list[str]:
    return re.findall(r"<figure.*?</figure>", html, re.DOTALL)


# -- the whole --------------------------------------------------------------------------------------------------------


def test_it_has_every_part(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for title in (
        *("Data", "Model", "Training", "Metrics beside the baselines", "Hit rate by slice", "Learning curves"),
        *("Signals of health", "Histogram of ranks", "Hit rate by popularity", "Scores of positives and negatives"),
        *("Collapse alarm", "Map of embeddings (PCA)", "Went well", "Went badly", "What to try next"),
    ):
        assert re.search(rf"<h[23]>{re.escape(title)}</h[23]>", html), title
    assert "BM25" in html
    assert page.stat().st_size < 5_000_000


def test_every_figure_says_how_to_read_it(page: Path) -> None:
    figures = figures_of(page.read_text(encoding="utf-8"))
    assert len(figures) > 12
    for figure in figures:
        caption = re.search(r"<figcaption>(.*?)</figcaption>", figure, re.DOTALL)
        assert caption is not None
        assert len(caption[1]) > 40


def test_the_numbers_are_those_of_the_test(run: Path, page: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    html = page.read_text(encoding="utf-8")
    assert f"<dd>{metrics['test/mrr']:.3f}</dd>" in html
    rows = pl.read_parquet(run / "per_query.parquet")["hit_rate@1"]
    share = f"{rows.mean():.0%}"
    assert share in figures_of(html)[figure_number(html, "Histogram of ranks")]


def figure_number(html: str, title: str) -> int:
    return next(place for place, each in enumerate(figures_of(html)) if f"<h3>{title}</h3>" in each)


def test_no_text_of_the_data_becomes_part_of_the_page(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert html.count("<script>") == 1
    assert SCRIPT not in html
    assert IMAGE not in html
    assert COLUMN not in html
    assert "<style>*" not in html
    assert "&lt;script&gt;" in html, "the texts are shown"
    assert "\x07" not in html
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy is not None
    assert policy[1].startswith("default-src &#39;none&#39;; img-src data:;")
    assert "unsafe-inline" not in policy[1].partition("script-src")[2]


def test_the_run_stays_as_it_is(run: Path, page: Path) -> None:
    assert page.is_file()
    assert not [path.name for path in run.rglob("*") if path.name.startswith(("report", "projector", "embeddings"))]
    left = {path.name for path in page.parent.iterdir()}
    assert left == {"report.html"}


def test_two_reports_are_equal(run: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.parents[2])
    assert report_of("--output", "again.html") == page.read_text(encoding="utf-8")


def test_the_projector_reads_its_files(run: Path, page: Path) -> None:
    folder = run.parents[2] / "points"
    vectors = (folder / "embeddings.tsv").read_text(encoding="utf-8").splitlines()
    known = (folder / "metadata.tsv").read_text(encoding="utf-8").splitlines()
    assert len(vectors) == len(known) - 1 == 30
    assert known[0].split("\t") == ["candidate_id", "title", COLUMN]
    assert {line.count("\t") for line in known} == {2}
    config = (folder / "projector_config.pbtxt").read_text(encoding="utf-8")
    assert f"tensor_shape: {len(vectors[0].split(chr(9)))}" in config


def test_two_runs_side_by_side(run: Path, copy: Path) -> None:
    html = report_of("--runs", str(run), str(copy), "--output", str(copy / "two.html"))
    assert "Metrics side by side" in html
    assert "The configs are equal" in html
    assert html.count("±0.000") > 5
    assert len(figures_of(html)) == html.count("<figcaption>")


def test_a_column_colours_the_map(copy: Path) -> None:
    html = report_of("--run", str(copy), "--colour_by", COLUMN, "--output", str(copy / "map.html"))
    assert 'class="dot s1"' in html
    assert 'class="dot s4"' in html


# -- what a run lacks -------------------------------------------------------------------------------------------------


def test_a_run_without_baselines_names_the_command(copy: Path) -> None:
    for path in (copy / "baselines.json", *copy.glob("per_query.?*.parquet")):
        path.unlink()
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert html.count("python -m dssm_lightning baseline --config shop.yaml") == 2  # as a note, and as what to do next


def test_a_run_without_validation_says_so(copy: Path) -> None:
    log = copy / "metrics.csv"
    table = pl.read_csv(log)
    table.select(name for name in table.columns if not name.startswith("val/")).write_csv(log)
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert "No validation was logged" in html
    assert "alignment" in html.partition("Not logged, and left out")[2][:200]


def test_a_run_that_was_not_tested(copy: Path) -> None:
    for path in (copy / "metrics.json", copy / "intervals.json", copy / "per_query.parquet"):
        path.unlink()
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert f"python -m dssm_lightning test --ckpt_path {copy / 'checkpoints' / 'best.ckpt'}" in html
    assert "Histogram of ranks" in html, "the checkpoint still tells this"


@pytest.mark.parametrize("state", ["interrupted", "failed"])
def test_an_unfinished_run_says_so(copy: Path, state: str) -> None:
    write_status(copy, RunStatus(state, 2, 3))
    (copy / "checkpoints" / "best.ckpt").unlink()
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert "epoch 2 of 3" in html  # as status.json says
    assert "There is no best.ckpt" in html
    assert f"fit --ckpt_path {copy / 'checkpoints' / 'last.ckpt'}" in html


def test_a_run_of_an_older_version(copy: Path) -> None:
    (copy / "status.json").unlink()
    log = copy / "metrics.csv"
    new = ("alignment", "uniformity", "negatives", "masked_positives", "logit_scale")
    table = pl.read_csv(log)
    table.select(name for name in table.columns if not name.endswith(new)).write_csv(log)
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert "no status.json" in html
    assert "Signals of health" not in html
    assert "logit scale, masked known positives of a row" in html


def test_a_run_without_a_checkpoint_tells_what_its_files_tell(copy: Path) -> None:
    shutil.rmtree(copy / "checkpoints")
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert "There is no checkpoint" in html
    assert "Metrics beside the baselines" in html
    assert "Histogram of ranks" not in html


def test_baselines_of_other_rows_are_not_shown_beside_the_test(copy: Path) -> None:
    path = copy / "baselines.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    name = next(iter(values))
    values[name]["mrr"] += 0.1
    path.write_text(json.dumps(values), encoding="utf-8")
    html = report_of("--run", str(copy), "--output", str(copy / "r.html"))
    assert "measured on other rows" in html


# -- what is refused --------------------------------------------------------------------------------------------------


def refused(pattern: str, *words: str) -> None:
    with pytest.raises(ValueError, match=pattern) as error:
        main(["report", *words])
    assert "\n" not in str(error.value)


def test_places_that_cannot_be_written(copy: Path) -> None:
    (copy / "file").write_text("x")
    refused("--output.*file.*cannot be written", "--run", str(copy), "--output", str(copy / "file" / "r.html"))
    refused("--output.*is a folder", "--run", str(copy), "--output", str(_folder(copy / "d.html")))
    refused("--output r.pdf.*'.pdf'.*html", "--run", str(copy), "--output", "r.pdf")
    words = ["--run", str(copy), "--output", str(copy / "r.html")]
    refused("--projector.*file.*is a file", *words, "--projector", str(copy / "file"))
    assert not (copy / "r.html").exists()
    locked = _folder(copy / "locked")
    locked.chmod(0o500)
    if not _can_write(locked):  # root writes everywhere
        refused("--output.*locked.*cannot be written", "--run", str(copy), "--output", str(locked / "r.html"))


def _folder(path: Path) -> Path:
    path.mkdir()
    return path


def _can_write(folder: Path) -> bool:
    try:
        (folder / "x").write_text("x")
    except OSError:
        return False
    return True


def test_what_is_no_run(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = ["--output", str(tmp_path / "r.html")]
    refused("--run .*nothing_there.*config.yaml", "--run", str(tmp_path / "nothing_there"), *output)
    empty = _folder(tmp_path / "empty")
    shutil.copy(copy / "config.yaml", empty / "config.yaml")
    refused("--run .*empty.*nothing was trained", "--run", str(empty), *output)
    refused("--runs: 1 runs", "--runs", str(copy), *output)
    refused("--runs and --run ", "--runs", str(copy), str(copy), "--run", str(copy), *output)
    refused("--colour_by.*'titel'.*'title'", "--run", str(copy), "--colour_by", "titel", *output)
    (copy / "metrics.json").write_text("{")
    refused("metrics.json", "--run", str(copy), *output)
    monkeypatch.chdir(tmp_path / "empty")
    refused("no run under", *output)


def test_a_damaged_checkpoint_is_named(copy: Path) -> None:
    (copy / "checkpoints" / "best.ckpt").write_bytes(b"PK nothing")
    refused("best.ckpt", "--run", str(copy), "--output", str(copy / "r.html"))


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: apt-get install chromium fonts-noto-color-emoji")
    with playwright.sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_network_and_without_an_error(browser: Any, page: Path, scheme: str) -> None:
    context = browser.new_context(color_scheme=scheme, viewport={"width": 390, "height": 844}, offline=True)
    tab, requests, messages = context.new_page(), [], []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    tab.on("dialog", lambda dialog: messages.append(dialog.message))
    tab.goto(page.as_uri())
    assert [each for each in requests if not each.startswith("data:")] == [page.as_uri()]
    assert messages == []
    assert tab.title() == "Report: shop/version_0"
    assert tab.evaluate("document.documentElement.scrollWidth") == 390, "no part is wider than a phone"
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"
    assert dark == (scheme == "dark")
    context.close()


def test_a_point_is_read_by_pointing_at_it(browser: Any, page: Path) -> None:
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.goto(page.as_uri())
    dot = tab.locator("circle.dot").first
    title = dot.locator("title").text_content()
    dot.dispatch_event("pointerover", {"bubbles": True})  # another point may cover it
    assert tab.locator("#tip").is_visible()
    assert tab.locator("#tip").text_content() == title
    assert "<script>" in title or "<img" in title or "<style>" in title, "as a text"
    tab.close()


def test_it_prints_on_white_paper(browser: Any, page: Path) -> None:
    tab = browser.new_page(viewport={"width": 688, "height": 970}, color_scheme="dark")
    tab.goto(page.as_uri())
    tab.emulate_media(media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    wide = "[...document.querySelectorAll('table')].filter(t => t.scrollWidth > t.parentElement.clientWidth + 1).length"
    assert tab.evaluate(wide) == 0, "no table is cut at the margin"
    assert tab.pdf(prefer_css_page_size=True)[:4] == b"%PDF"
    tab.close()
