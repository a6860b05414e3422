"""What a fit or a test does once, when it begins: checks, earlier weights, frozen backbones, teachers, compilation."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn

from dssm_lightning.data.retrieval_data import RetrievalData
from dssm_lightning.losses import Loss
from dssm_lightning.models.encoders import Backbone
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.training.compilation import compile_towers
from dssm_lightning.training.evaluation_steps import EvaluationSteps
from dssm_lightning.training.frozen_backbones import check_rest, read_weights, use_fixed_features
from dssm_lightning.training.objective_checks import check_objective_weights, check_objectives
from dssm_lightning.training.reconstruction_checks import check_reconstruction
from dssm_lightning.training.teaching import Teaching
from dssm_lightning.training.warm_start import warm_start
from dssm_lightning.utils.logger import log_info


def begin_fit(loss: Loss, teaching: Teaching | None, data: RetrievalData | None) -> None:
    """Open the files of teachers, and compare what the loss learns from with the data, before the data are prepared.

    Raises:
        UserError: errors of :meth:`Teaching.open` and of
            :func:`~dssm_lightning.training.objective_checks.check_objectives`.
    """
    if teaching is not None:
        teaching.open()
    if data is not None:
        check_objectives(loss, data)


def start_fit(
    model: TwoTowerModel,
    loss: Loss,
    backbones: list[Backbone],
    warm_start_from: str | None,
    teaching: Teaching | None,
    compiled: bool,
) -> None:
    """Take the weights of an earlier run, log which parts are new, and bind guide and teacher to the data.

    Args:
        model: built, with its trainer.
        loss: what it learns by.
        backbones: the frozen parts of its towers.
        warm_start_from: the checkpoint of the earlier run; None = its own initial weights.
        teaching: guide and teacher; None = neither.
        compiled: train with compiled towers.

    Raises:
        UserError: a checkpoint or a teacher that does not fit the data; an objective that nothing teaches; a model
            that a loss of all likes cannot train.
    """
    assert isinstance(model, EvaluationSteps)
    assert isinstance(model, LightningModule)
    check_objective_weights(loss, model.datamodule)
    check_reconstruction(loss, model)
    check_rest(backbones, model.trainer.strategy.model)
    read_weights(backbones)
    if warm_start_from is not None:
        assert model.schemas is not None
        news = warm_start(Path(warm_start_from), model, model.towers, model.schemas)
        log_info(f"warm start from {warm_start_from}; {'; '.join(news) or 'nothing is new'}")
    if teaching is not None:
        teaching.bind(model.datamodule, model.device)
    use_fixed_features(model.towers, model.datamodule)
    if compiled:
        compile_towers(model.towers.values())


def start_evaluation(model: TwoTowerModel, backbones: list[Backbone]) -> None:
    """Prepare backbones as a fit does at its start, for a model that is evaluated without a fit."""
    assert isinstance(model, EvaluationSteps)
    assert isinstance(model, LightningModule)
    if model.trainer.state.fn != TrainerFn.FITTING:
        read_weights(backbones)
        use_fixed_features(model.towers, model.datamodule)
