"""The few steps that are trained on: time, memory, negatives; and that nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small import small_data, small_model

from dssm_lightning import RetrievalDataModule
from dssm_lightning.inspection.doctor import trial
from dssm_lightning.inspection.doctor.subject import Subject


def subject(folder: Path, **changes: object) -> Subject:
    data, model = small_data(folder, **changes), small_model()
    model.build(data.schemas)
    return Subject({}, data, model, batches=3)


def test_a_trial_counts_what_a_fit_would_do(tmp_path: Path) -> None:
    case = subject(tmp_path)
    found = trial.run_trial(case)
    assert found is not None
    assert isinstance(case.data, RetrievalDataModule)
    assert (found.steps, found.done) == (len(case.data.train_dataloader()), 3)
    assert 0 < found.seconds < 10
    assert 4 < found.negatives < 32
    assert found.without == 0
    assert found.loss > 0


def test_no_batch_is_trained_on_if_none_is_wanted(tmp_path: Path) -> None:
    case = subject(tmp_path)
    case.batches = 0
    assert trial.run_trial(case) is None


def test_a_step_beyond_the_memory_is_an_error_and_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = subject(tmp_path)
    monkeypatch.setattr(trial, "memory_of_machine", lambda: 10_000)
    assert trial.run_trial(case) is None
    (found,) = trial.check_memory(case)
    assert (found.level, found.check) == ("error", "memory")
    assert "batch_size" in str(found.change)
    assert trial.needed_bytes(case) > 4 * 32 * 32


def test_a_loss_that_is_not_finite_is_an_error(tmp_path: Path) -> None:
    case = subject(tmp_path)
    made = trial.run_trial(case)
    assert made is not None
    broken = type(made)(**{**vars(made), "loss": float("nan")})
    assert "loss-not-finite" in {
        finding.check for finding in trial.check_trial(case, broken) if finding.level == "error"
    }
