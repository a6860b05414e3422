"""``curves`` on hand-made logs, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from dssm_lightning.cli.main import main
from dssm_lightning.reports.training_curves import curves_svg, nice_ticks, spread

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(autouse=True)
def _there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    log("A", "metrics.csv", "epoch,step,train/loss,val/mrr", "0,4,2.5,", "1,9,,0.25", "3,19,,0.5")
    log("B", "metrics.csv", "epoch,step,val/mrr", "0,9,0.125", "1,19,0.75")


def log(run: str, name: str, *lines: str) -> None:
    """What a run's logger writes."""
    Path(run).mkdir(exist_ok=True)
    Path(run, name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_each_run_is_a_line_with_its_label_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    found = main(["curves", "--run", "A", "B", "--metric", "val/mrr", "--plot", "docs/c.svg", "--label", "one", "two"])
    assert found == {"one": [(2, 0.25), (4, 0.5)], "two": [(1, 0.125), (2, 0.75)]}
    assert "docs/c.svg" in capsys.readouterr().out
    drawn = ElementTree.parse("docs/c.svg").getroot()
    lines = [path for path in drawn.iter(f"{SVG}path") if path.get("stroke-width") == "2"]
    assert len(lines) == 2
    first = lines[0].get("d", "").removeprefix("M ").split(" L ")
    (x0, y0), (x1, y1) = (map(float, point.split()) for point in first)
    assert x1 > x0
    assert y1 < y0  # 0.5 lies above 0.25
    labels = {text.text: text.get("fill") for text in drawn.iter(f"{SVG}text")}
    assert [labels["one"], labels["two"]] == [line.get("stroke") for line in lines]
    assert "val/mrr" in labels


def test_a_resumed_run_is_one_line() -> None:
    """What was repeated after an interrupt counts as it was the second time."""
    log("A", "metrics.before-resume-1.csv", "epoch,step,train/loss,val/mrr", "0,4,,0.1", "1,9,,0.9")
    assert main(["curves", "--run=A", "--metric=val/mrr", "--plot=c.svg"]) == {"A": [(1, 0.1), (2, 0.25), (4, 0.5)]}


def test_a_run_is_known_by_its_checkpoint() -> None:
    Path("A/checkpoints").mkdir()
    Path("A/config.yaml").touch()
    found = main(["curves", "--run", "A/checkpoints/best.ckpt", "--metric", "val/mrr", "--plot", "c.svg"])
    assert list(found.values()) == [[(2, 0.25), (4, 0.5)]]


def test_one_epoch_of_one_value_is_drawn() -> None:
    ElementTree.fromstring(curves_svg({"a < b": [(1, 0.0)]}, "x"))


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.21, 0.288, [0.2, 0.22, 0.24, 0.26, 0.28, 0.3]),
        (0.0, 1.0, [0, 0.5, 1]),
        (7.0, 7.0, [6, 8]),
        (-30, 10, [-30, -20, -10, 0, 10]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low: float, high: float, ticks: list[float]) -> None:
    assert nice_ticks(low, high) == pytest.approx(ticks)


def test_labels_that_would_overlap_move_apart_and_keep_their_order() -> None:
    assert spread([10.0, 50.0, 12.0], 18) == pytest.approx([10 - 16 / 3, 50 - 16 / 3, 28 - 16 / 3])
    assert spread([40.0, 10.0], 18) == [40.0, 10.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--run A --metric val/mrr --plot c.png", "c.png: the drawing is an SVG"),
        ("--run C --metric val/mrr --plot c.svg", "C: no run folder with a metrics.csv"),
        (
            "--run A --metric val/mmr --plot c.svg",
            r"A never logged 'val/mmr'; it has train/loss, val/mrr; did you mean ",
        ),
        ("--run A B --metric val/mrr --plot c.svg --label x", "2 runs need as many different labels; found x"),
        ("--run A A --metric val/mrr --plot c.svg", "2 runs need as many different labels; found A, A"),
        ("--run A B C D E F G --metric val/mrr --plot c.svg", "7 runs are more than can be told apart: at most 6"),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        main(["curves", *arguments.split()])
