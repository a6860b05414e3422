"""A study on the disk: each trial runs once, in whichever process; what died has its reason."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from helpers.tuning import GOAL, SPACE, open_study, quality

from dssm_lightning.training.tuning.dimension import values_of
from dssm_lightning.training.tuning.study import OWN, TuningStudy
from dssm_lightning.utils.errors import UserError


def run(study: TuningStudy, most: int = 99) -> list[float]:
    """Run trials of the formula."""
    found = []
    while len(found) < most and (trial := study.next_trial()) is not None:
        values = {each.name: each.suggest(trial) for each in study.space}
        found.append(quality(values))
        study.complete(trial, found[-1])
    return found


def test_trial_0_has_the_own_values_and_the_search_improves_on_them(tmp_path: Path) -> None:
    study = open_study(tmp_path / "tune.db", trials=14)
    found = run(study)
    first = study.counted()[0]
    assert values_of(SPACE, first.params) == {"lr": 0.01, "width": 64, "repeats": "ignore"}
    assert first.user_attrs[OWN]
    assert len(found) == 14
    assert max(found) > found[0] + 0.04


def test_a_study_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = run(open_study(tmp_path / "whole.db", trials=6))
    parts = run(open_study(tmp_path / "parts.db"), most=4) + run(open_study(tmp_path / "parts.db"))
    assert parts == whole
    assert run(open_study(tmp_path / "parts.db")) == []
    assert len(run(open_study(tmp_path / "parts.db", trials=7))) == 1


def test_two_processes_share_the_trials(tmp_path: Path) -> None:
    one, other = open_study(tmp_path / "tune.db"), open_study(tmp_path / "tune.db")
    trials = [study.next_trial() for study in (one, other, one, other, one, other)]
    numbers = [trial.number for trial in trials if trial is not None]
    assert numbers == list(range(6))
    assert one.next_trial() is None
    settings = [str(values_of(SPACE, each.params)) for each in one.counted()]
    assert len(set(settings)) >= 1
    for study, number in zip((one, other) * 3, numbers, strict=True):
        study.fail(number, "x")


def test_the_trial_of_a_process_that_was_killed_is_recorded(tmp_path: Path) -> None:
    killed = open_study(tmp_path / "tune.db", trials=3)
    assert killed.next_trial() is not None
    killed._alive.release()  # as the system does at the end of a process
    study = open_study(tmp_path / "tune.db", trials=3)
    again = study.next_trial()
    assert again is not None
    assert "killed" in str(study.reason(0))
    assert again.number != 0
    while study.next_trial() is not None:
        pass
    assert sum(bool(each.user_attrs.get(OWN)) for each in study.counted()) == 2, "the own settings get one more chance"


def test_an_interrupted_trial_is_repeated_and_does_not_count(tmp_path: Path) -> None:
    study = open_study(tmp_path / "tune.db", trials=3)
    trial = study.next_trial()
    assert trial is not None
    study.interrupt(trial)
    assert study.counted() == []
    assert len(run(study)) == 3
    assert sum(bool(each.user_attrs.get(OWN)) for each in study.counted()) == 1


def test_the_study_of_another_config_is_refused_and_both_are_named(tmp_path: Path) -> None:
    open_study(tmp_path / "tune.db").close()
    other = GOAL._replace(config="books.yaml", fixed={"data.batch_size": 32})
    with pytest.raises(UserError, match=r"shop\.yaml .*not of books\.yaml .*data\.batch_size 64 → 32"):
        open_study(tmp_path / "tune.db", other)
    with pytest.raises(UserError, match=r"metric val/mrr → val/ndcg@10"):
        open_study(tmp_path / "tune.db", GOAL._replace(metric="val/ndcg@10"))
    open_study(tmp_path / "tune.db", GOAL._replace(config="moved/shop.yaml")).close()  # a name is no setting


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.db").write_text("no database")
    with pytest.raises(UserError, match=r"notes\.db is no study"):
        open_study(tmp_path / "notes.db")
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("create table studies (id integer)")
    shop.close()
    with pytest.raises(UserError, match=r"shop\.db is no study"):
        open_study(tmp_path / "shop.db")
