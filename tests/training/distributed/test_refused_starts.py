"""Settings that this machine or this package does not support are refused at the start."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.small import write_config
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.strategies import FSDPStrategy, SingleDeviceStrategy

from dssm_lightning.cli.main import main
from dssm_lightning.training.atomic_checkpoint_io import trainer_plugins
from dssm_lightning.training.distributed.rank_agreement import check_ranks_agree, check_strategy, digests


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")
    write_config(tmp_path / "here.yaml")


def fit(*options: str) -> Path:
    cli = main(["fit", "--config", "here.yaml", "--trainer.max_epochs=1", *options])
    assert cli.run is not None
    return Path(cli.run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--trainer.accelerator=gpu", "--trainer.devices=8"],
            r"accelerator gpu, devices 8, strategy auto; this machine",
        ),
        (["--trainer.devices=0"], r"`Trainer.devices='0'.` value is not a valid input using cpu accelerator"),
        (["--trainer.accelerator=gpuu"], "accelerator gpuu"),
        (["--trainer.strategy=fsdp"], "`fsdp` requires a GPU accelerator, but received `accelerator='cpu'`"),
    ],
)
def test_missing_devices_are_refused(options: list[str], message: str) -> None:
    with pytest.raises((MisconfigurationException, ValueError), match=message):
        fit(*options)


def test_fsdp_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"strategy fsdp: the corpus is embedded between steps.*configs/sharded\.yaml"):
        check_strategy(FSDPStrategy())
    check_strategy(SingleDeviceStrategy())


def test_a_launcher_with_more_processes_than_devices_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like ``torchrun --nproc_per_node 2`` without ``--trainer.devices 2``."""
    place = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0", "WORLD_SIZE": "2"}
    for name, value in {**place, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"the product \(1 \* 1\) does not match the world size \(2\)"):
        fit("--trainer.strategy=ddp", "--trainer.devices=1")


def test_under_slurm_the_checkpoint_of_another_run_is_not_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning by itself resumes from the newest ``hpc_ckpt`` of the working folder, and requeues jobs."""
    for name, value in {"NTASKS": "1", "JOB_NAME": "x", "JOB_ID": "1", "PROCID": "0", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    Path("hpc_ckpt_7.ckpt").write_bytes(b"of another run")
    assert torch.load(fit() / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    [slurm] = [plugin for plugin in trainer_plugins("ddp") if isinstance(plugin, SLURMEnvironment)]
    assert not slurm.auto_requeue
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")  # torchrun within SLURM sets the process numbers
    assert not [plugin for plugin in trainer_plugins("ddp") if isinstance(plugin, SLURMEnvironment)]


def test_one_process_agrees_with_itself() -> None:
    check_ranks_agree({"seed_everything": 3})


def test_a_digest_depends_on_the_content_and_not_on_the_folder(tmp_path: Path) -> None:
    texts = ["query.text#dense", "query.grouped.text#dense"]  # a feature may have such a name
    for folder, middle in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / folder).mkdir()
        for name in texts:
            (tmp_path / folder / f"{name}.npy").write_bytes(bytes(100_000) + middle + bytes(100_000))
        (tmp_path / folder / "schema.json").write_text("{}", encoding="utf-8")
        (tmp_path / folder / "candidate.picture#frozen-1.npy").write_bytes(folder.encode())  # made when it is needed
        (tmp_path / folder / "grouped.all#rows.npy").write_bytes(folder.encode())  # an older cache has no such file
    a, b, c = (digests(tmp_path / folder) for folder in "abc")
    assert a == b
    assert a.keys() == {*texts, "schema"}
    assert {name for name in a if a[name] != c[name]} == {*texts}
