"""The end of a fit: how to blend the trained model with BM25."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.evaluation.blend_choice import choose_blend, write_choice
from dssm_lightning.retrieval.blend import HYBRID
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.checkpoint_files import read_checkpoint
from dssm_lightning.training.checkpoint_model import model_of
from dssm_lightning.utils.logger import log_file, log_info


def choose_hybrid(trainer: Trainer, data: RetrievalDataModule, run: Path | None) -> None:
    """Choose the blend of the best checkpoint's model with BM25 on validation rows, and write it into the run folder.

    Nothing is chosen without texts or validation rows, and in a fit of several processes.
    """
    [best] = [each for each in trainer.checkpoint_callbacks if isinstance(each, BestCheckpoint)]
    if run is None or trainer.world_size > 1 or best.monitor is None or not Path(best.best_model_path).is_file():
        return
    model = model_of(read_checkpoint(Path(best.best_model_path)), best.best_model_path).eval()
    choice = choose_blend(model, data)
    if choice is None:
        return
    write_choice(run, choice)
    alone = f"the model {choice.model:.4f}, BM25 {choice.bm25:.4f}"
    log_info(f"hybrid with BM25: {choice.blend}, val/{choice.metric} {choice.value:.4f} ({alone})")
    log_file("the blend", run / HYBRID)
