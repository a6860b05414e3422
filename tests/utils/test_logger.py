"""One logger, which speaks in the first process alone, and progress without a terminal."""

from __future__ import annotations

import logging

import pytest

from dssm_lightning.utils import progress
from dssm_lightning.utils.logger import is_first_process, log_info, show_messages, warn, without_repeats


def test_the_first_process_speaks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        log_info("a line")
    assert [record.getMessage() for record in caplog.records if record.name == "dssm_lightning"] == ["a line"]


def test_a_message_of_a_block_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        with without_repeats():
            for line in ("a line", "another", "a line"):
                log_info(line)
        log_info("a line")
    assert [record.getMessage() for record in caplog.records] == ["a line", "another", "a line"]


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "SLURM_PROCID"])
def test_another_process_is_silent(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "1")
    assert not is_first_process()
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        log_info("a line")
        warn("a warning")  # would be an error in this suite
    assert not caplog.records


def test_a_warning_is_a_users() -> None:
    with pytest.warns(UserWarning, match="a warning"):
        warn("a warning")


def test_messages_go_to_the_standard_error_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = logging.getLogger("dssm_lightning")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    show_messages()
    show_messages()
    log_info("seen once")
    shown = capsys.readouterr()
    assert shown.err.count("seen once") == 1
    assert shown.out == ""


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([0.0, 20.0, 40.0, 50.0, 80.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        assert list(progress.track(range(4), "encoding", 4)) == [0, 1, 2, 3]
    lines = [record.getMessage() for record in caplog.records]
    # 2 of 4 after 40 s: as long again; 4 of 4 after 80 s: none
    assert lines == ["encoding: 2 of 4, about 0:40 min left", "encoding: 4 of 4, about 0:00 min left"]


def test_few_items_are_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "dssm_lightning"):
        assert list(progress.track(range(3), "encoding", 3, least=4)) == [0, 1, 2]
    assert not caplog.records
