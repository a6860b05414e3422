"""Callbacks of the trainer: checkpoints, stops, averaged weights, codes from EASE, written embeddings."""

from dssm_lightning.training.callbacks.averaged_weights import AveragedWeights
from dssm_lightning.training.callbacks.best_checkpoint import BestCheckpoint
from dssm_lightning.training.callbacks.codes_from_ease import CodesFromEASE
from dssm_lightning.training.callbacks.embedding_writer import EmbeddingWriter
from dssm_lightning.training.callbacks.last_checkpoint import LastCheckpoint
from dssm_lightning.training.callbacks.run_config import RunConfig
from dssm_lightning.training.callbacks.stop_at_non_finite import StopAtNonFinite
from dssm_lightning.training.callbacks.stop_between_batches import StopBetweenBatches

__all__ = [
    "AveragedWeights",
    "BestCheckpoint",
    "CodesFromEASE",
    "EmbeddingWriter",
    "LastCheckpoint",
    "RunConfig",
    "StopAtNonFinite",
    "StopBetweenBatches",
]
