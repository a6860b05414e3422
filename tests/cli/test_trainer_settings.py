"""Trainer settings on the command line: callbacks and loggers of users work, or are one line that names them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from helpers.small import write_config

from dssm_lightning.cli.main import main
from dssm_lightning.cli.trainer_settings import useful_line
from dssm_lightning.utils.errors import UserError

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*exists and is not empty"),
    pytest.mark.filterwarnings("ignore:`.fit\\(ckpt_path=None\\)` was called without a model"),
    pytest.mark.filterwarnings("ignore:.fit\\(ckpt_path=.last.\\) is set, but there is no last checkpoint"),
]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config of one epoch, in an empty working folder; a progress bar is neither asked for nor refused."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path / "shop.yaml", trainer={"max_epochs": 1, "enable_progress_bar": None})


def callback(name: str, **settings: Any) -> str:
    return "--trainer.callbacks+=" + json.dumps({"class_path": name, "init_args": settings})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Timer", {"duration": "00:01:00:00"}),
        ("RichProgressBar", {}),
        ("TQDMProgressBar", {}),
        ("OnExceptionCheckpoint", {"dirpath": "errors"}),
        ("LearningRateFinder", {"num_training_steps": 5}),
        ("LearningRateMonitor", {}),
    ],
)
def test_a_callback_works(config: Path, name: str, settings: dict[str, Any]) -> None:
    cli = main(["fit", f"--config={config}", callback(f"lightning.pytorch.callbacks.{name}", **settings)])
    assert cli.trainer.global_step > 0
    assert Path("runs/shop/version_0/checkpoints/best.ckpt").is_file()


@pytest.mark.parametrize(
    ("logger", "package"), [("WandbLogger", "wandb"), ("MLFlowLogger", "mlflow"), ("CometLogger", "comet_ml")]
)
def test_a_logger_that_is_not_installed_is_one_line(config: Path, logger: str, package: str) -> None:
    if importlib.util.find_spec(package):
        pytest.skip(f"{package} is installed")
    words = ["fit", f"--config={config}", f"--trainer.logger=lightning.pytorch.loggers.{logger}"]
    with pytest.raises(UserError, match=rf"{logger}: .*{package.partition('_')[0]}.*pip install") as error:
        main(words)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(importlib.util.find_spec("psutil") is not None, reason="psutil is installed")
def test_a_callback_that_is_not_installed_is_one_line(config: Path) -> None:
    with pytest.raises(UserError, match=r"DeviceStatsMonitor.*psutil"):
        main(["fit", f"--config={config}", callback("lightning.pytorch.callbacks.DeviceStatsMonitor")])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--trainer.barebones=true"], "trainer.barebones is true"),
        (["--trainer.precision=64-true"], "trainer.precision is 64-true"),
        (["--trainer.precision=transformer-engine"], "transformer_engine"),
        (["--trainer.enable_checkpointing=false"], "enable_checkpointing=False"),
        (["--trainer.val_check_interval=100"], "trainer.val_check_interval is 100"),
        (["--trainer.profiler=quick"], "profiler.*simple"),
        ([callback("EarlyStopping", monitor="val_loss")], "EarlyStopping: monitor 'val_loss'"),
        ([callback("ModelCheckpoint", monitor="val/mrr")] * 2, "ModelCheckpoint"),
        (["--model.lr_scheduler=torch.optim.lr_scheduler.ReduceLROnPlateau"], "ReduceLROnPlateau.*monitor"),
        (["--trainer.limit_val_batches=0", callback("EarlyStopping", monitor="val/mrr")], "limit_val_batches is 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_are_refused(config: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main(["fit", f"--config={config}", *words])
    assert not list(Path("runs").rglob("*.ckpt"))


def test_a_message_without_a_class_stays_as_it_is() -> None:
    assert useful_line("one\ntwo") == "one\ntwo"
