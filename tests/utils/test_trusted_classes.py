"""Which classes the settings of a file may name; end_to_end/test_hostile_checkpoints.py has whole files."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.small import ADAM, LOSS, SCORER, TOWER
from torch import nn

from dssm_lightning.losses import SampledSoftmax
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.trusted_classes import require_trusted, trusted_imports, trusting


class Own(SampledSoftmax):
    """A loss of the user's own, which is imported."""


class Alone:
    """A class that inherits from nothing of the package."""


TRUSTED: list[Any] = [
    *(TOWER, LOSS, SCORER, ADAM, "Dot", "SampledSoftmax"),
    {"class_path": "dssm_lightning.models.encoders.Backbone"},
    {"class_path": "dssm_lightning.features.Categorical"},
    {"class_path": "dssm_lightning.data.sources.Files", "init_args": {"interactions": "test.csv", "queries": "os.txt"}},
    {"class_path": "torch.optim.lr_scheduler.CosineAnnealingLR", "init_args": {"T_max": 3}},
    {"class_path": "torch.nn.GELU"},
    {"class_path": "torchvision.transforms.v2.ColorJitter"},
    {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "val/mrr"}},
    {"class_path": "lightning.pytorch.loggers.CSVLogger"},
    {"class_path": "dssm_lightning.training.distributed.ShardedTables"},
    {"class_path": "dssm_lightning.encoders.bag.EmbeddingBag"},  # the path of an earlier release
    {"class_path": f"{__name__}.Own"},
]


@pytest.mark.parametrize("settings", TRUSTED, ids=str)
def test_what_runs_need_is_trusted(settings: Any) -> None:
    require_trusted({"part": settings}, "x.ckpt")


UNTRUSTED = [
    *("os.system", "shutil.rmtree", "torch.load", "torch.hub.load", "torch.serialization.load", "numpy.fromfile"),
    *("dssm_lightning.cli.main.main", "dssm_lightning.api.load_run", "dssm_lightning.load_retriever"),
    *("dssm_lightning.models.factories.make", "dssm_lightning.data.sources.download.Path", "torch.nn.init.zeros_"),
    *("lightning.pytorch.cli.LightningCLI", "lightning.pytorch.callbacks.model_checkpoint.shutil.rmtree"),
    *(f"{__name__}.Alone", f"{__name__}.pytest", "no_such_module.Loss"),
]


@pytest.mark.parametrize("path", UNTRUSTED)
def test_everything_else_is_not(path: str) -> None:
    with pytest.raises(UserError, match=f"x.ckpt names {path}"):
        require_trusted({"part": [{"init_args": {"inner": {"class_path": path}}}]}, "x.ckpt")


def test_trust_ends_with_its_block() -> None:
    settings = {"class_path": "no_such_module.losses.Margin"}
    with trusting(["no_such_module.losses"]):
        require_trusted(settings, "x.ckpt")
        with pytest.raises(UserError, match=r"no_such_module\.other"):
            require_trusted({"class_path": "no_such_module.other.Margin"}, "x.ckpt")
    with pytest.raises(UserError, match="--trust no_such_module"):
        require_trusted(settings, "x.ckpt")


def test_parsers_are_free_again_after_the_block() -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=type[nn.Module] | None)
    with pytest.raises(UserError, match=r"x\.ckpt names torch\.fx\.GraphModule"), trusted_imports({}, "x.ckpt"):
        parser.parse_object({"part": "torch.fx.GraphModule"})
    assert parser.parse_object({"part": "torch.fx.GraphModule"}).part is not None
