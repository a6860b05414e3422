"""``curves`` on hand-made logs: the lines, labels and axes of the drawing, and refused input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import PIL.Image
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dssm_lightning.cli.main import main
from dssm_lightning.reports.training_curves import COLOURS, LABEL_HEIGHT, draw_curves, spread
from dssm_lightning.utils.console import cell

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log("A", "metrics.csv", "epoch,step,train/loss,val/mrr", "0,4,2.5,", "1,9,,0.25", "3,19,,0.5")
    log("B", "metrics.csv", "epoch,step,val/mrr", "0,9,0.125", "1,19,0.75")


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved."""
    saved, save = [], Figure.savefig

    def record(figure: Figure, *arguments: Any, **options: Any) -> None:
        saved.append(figure)
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", record)
    return saved


def log(run: str, name: str, *lines: str) -> None:
    """Write a file as a run's logger writes it."""
    Path(run).mkdir(exist_ok=True)
    Path(run, name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def texts(path: str) -> list[str | None]:
    return [text.text for text in ElementTree.parse(path).getroot().iter(f"{SVG}text")]


def test_each_run_is_a_line_with_its_label_at_the_end(figures: list[Figure], caplog: pytest.LogCaptureFixture) -> None:
    found = main(["curves", "--run", "A", "B", "--metric", "val/mrr", "--plot", "docs/c.svg", "--label", "one", "two"])
    assert found == {"one": [(2, 0.25), (4, 0.5)], "two": [(1, 0.125), (2, 0.75)]}
    assert "docs/c.svg" in caplog.text
    [figure] = figures
    [axes] = figure.axes
    assert [np.asarray(line.get_xydata()).tolist() for line in axes.lines] == [
        [[2, 0.25], [4, 0.5]],
        [[1, 0.125], [2, 0.75]],
    ]
    labels: list[Any] = list(axes.texts)  # annotations
    assert [(label.get_text(), label.xy) for label in labels] == [("one", (4, 0.5)), ("two", (2, 0.75))]
    assert [label.xyann[1] for label in labels] == pytest.approx([0, 0])  # nothing overlaps: beside the ends
    assert [label.xyann[0] > 0 for label in labels] == [True, True]
    assert [label.get_color() for label in labels] == [line.get_color() for line in axes.lines] == list(COLOURS[:2])
    assert (axes.get_title(loc="left"), axes.get_xlabel()) == ("val/mrr", "epoch")
    assert {"one", "two", "val/mrr", "epoch"} <= set(texts("docs/c.svg"))


def test_ticks_of_epochs_are_integers_and_grid_lines_are_horizontal(figures: list[Figure]) -> None:
    main(["curves", "--run", "A", "B", "--metric", "val/mrr", "--plot", "c.svg"])
    [axes] = figures[0].axes
    assert set(texts("c.svg")) >= {"1", "2", "3", "4"}
    assert not any(text and text.startswith(("1.", "2.")) for text in texts("c.svg"))
    assert [line.get_visible() for line in (axes.get_xgridlines()[0], axes.get_ygridlines()[0])] == [False, True]


def test_a_png_shows_the_colours_of_both_lines() -> None:
    main(["curves", "--run", "A", "B", "--metric", "val/mrr", "--plot", "c.PNG"])
    with PIL.Image.open("c.PNG") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    shown = {to_hex(colour / 255) for colour in np.unique(pixels, axis=0)}
    assert {*COLOURS[:2], "#ffffff"} <= shown
    assert not shown & {*COLOURS[2:5]}


def test_equal_drawings_are_equal_files_and_pyplot_has_no_figure() -> None:
    for name in ("1.svg", "2.svg"):
        main(["curves", "--run", "A", "B", "--metric", "val/mrr", "--plot", name])
    assert Path("1.svg").read_bytes() == Path("2.svg").read_bytes()
    pyplot = sys.modules.get("matplotlib.pyplot")  # torchmetrics may have loaded it
    assert pyplot is None or not pyplot.get_fignums()


def test_a_resumed_run_is_one_line() -> None:
    """An epoch that was repeated after an interrupt has its second value."""
    log("A", "metrics.before-resume-1.csv", "epoch,step,train/loss,val/mrr", "0,4,,0.1", "1,9,,0.9")
    assert main(["curves", "--run=A", "--metric=val/mrr", "--plot=c.svg"]) == {"A": [(1, 0.1), (2, 0.25), (4, 0.5)]}


def test_a_checkpoint_stands_for_its_run() -> None:
    Path("A/checkpoints").mkdir()
    Path("A/config.yaml").touch()
    found = main(["curves", "--run", "A/checkpoints/best.ckpt", "--metric", "val/mrr", "--plot", "c.svg"])
    assert list(found.values()) == [[(2, 0.25), (4, 0.5)]]


@pytest.mark.parametrize("label", ["a < b & c", "$x_1$", "\\frac{1}{2}"])
def test_one_epoch_is_a_dot_and_labels_are_plain_text(label: str, figures: list[Figure]) -> None:
    main(["curves", "--run", "B", "--metric", "val/mrr", "--plot", "c.svg", "--label", label])
    [line] = figures[0].axes[0].lines
    assert line.get_marker() == "o"
    assert label in texts("c.svg")
    [dot] = draw_curves({label: [(1, 0.0)]}, "$").axes[0].lines
    assert np.asarray(dot.get_xydata()).tolist() == [[1, 0]]


def test_a_diverged_run_has_its_label_at_its_last_finite_value(figures: list[Figure]) -> None:
    log("D", "metrics.csv", "epoch,step,val/mrr", "0,9,0.5", "1,19,0.25", "2,29,nan")
    found = main(["curves", "--run", "D", "--metric", "val/mrr", "--plot", "c.png"])
    assert str(found["D"]) == "[(1, 0.5), (2, 0.25), (3, nan)]"
    labels: list[Any] = list(figures[0].axes[0].texts)
    assert [label.xy for label in labels] == [(2, 0.25)]


def test_labels_of_equal_ends_do_not_overlap() -> None:
    axes = draw_curves({"A": [(1, 0.1), (2, 0.5)], "B": [(1, 0.2), (2, 0.5)], "C": [(1, 0.3), (2, 0.1)]}, "x").axes[0]
    labels: list[Any] = list(axes.texts)
    shifts = [label.xyann[1] for label in labels]
    assert shifts == pytest.approx([-LABEL_HEIGHT / 2, LABEL_HEIGHT / 2, 0])


def test_spread_moves_close_heights_apart_in_their_order() -> None:
    assert spread([10.0, 50.0, 12.0], 18) == pytest.approx([2, 50, 20])
    assert spread([40.0, 10.0], 18) == [40.0, 10.0]
    assert spread([0.0, 10.0, 25.0], 10) == pytest.approx([0, 10, 25])
    assert spread([0.0, 8.0, 16.0], 10) == pytest.approx([-2, 8, 18])  # moved apart, the first two reach the third
    assert spread([], 10) == []


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ValueError, match=r"matplotlib.*pip install 'dssm-lightning\[plots\]'"):
        main(["curves", "--run=A", "--metric=val/mrr", "--plot=c.svg"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--run A --metric val/mrr --plot c.pdf", r"--plot c\.pdf.*\.svg.*\.png"),
        ("--run C --metric val/mrr --plot c.svg", r"C: .*metrics\.csv"),
        ("--run A --metric val/mmr --plot c.svg", r"A .*'val/mmr'.*train/loss, val/mrr.*'val/mrr'"),
        ("--run A B --metric val/mrr --plot c.svg --label x", "--label.*2 runs.* x$"),
        ("--run A A --metric val/mrr --plot c.svg", "--label.*2 runs.* A, A$"),
        ("--run A B C D E F G --metric val/mrr --plot c.svg", "7 runs.* 6 colours"),
    ],
)
def test_bad_input_is_refused(arguments: str, message: str) -> None:
    for run in "CDEFG" if "7" in message else "":
        log(run, "metrics.csv", "epoch,step,val/mrr", "0,9,0.5")
    with pytest.raises(ValueError, match=message):
        main(["curves", *arguments.split()])
    assert not list(Path().glob("c.*"))


@pytest.mark.parametrize("label", ["😸", "𠮷野家", "a\x1b[31mb", "$x$ [b] <i> & \u2028", "\ufffe", "line\nbreak"])
def test_a_label_of_any_text(label: str) -> None:
    assert list(main(["curves", "--run=A", "--metric=val/mrr", "--plot=any.svg", "--label", label])) == [label]
    assert cell(label) in texts("any.svg")
