"""The output of ``predict``: the embeddings of one side, with their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.logger import LOGGER
from dssm_lightning.utils.memory_mapped import Spool


class EmbeddingWriter(Callback):
    """Write the embeddings of ``predict`` to a Parquet file: id, vector, and head if each id has several vectors.

    Each of several processes writes its own file. Until the file is written, embeddings are kept on the disk beside it,
    not in memory.

    Args:
        output: the file; several processes put ``.<process number>`` before its suffix.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import EmbeddingWriter
        >>> writer = EmbeddingWriter("films.parquet")
        >>> trainer = Trainer(callbacks=writer, accelerator="cpu", logger=False)  # then: trainer.predict(model, data)
        >>> writer.output.name
        'films.parquet'
    """

    def __init__(self, output: str = "embeddings.parquet") -> None:
        self.output = Path(output)
        self._heads: list[Spool] = []

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the embeddings (H, B, d) of a batch."""
        if not self._heads:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._heads = [Spool(self.output.parent) for _ in outputs]
        for head, vectors in zip(self._heads, outputs.float().cpu(), strict=True):
            head.append(vectors.numpy())

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write all embeddings of this process."""
        data = datamodule_of(trainer)
        table = data.candidates if data.predict == "candidate" else data.data.queries
        heads = [head.mapped() for head in self._heads]
        self._heads.clear()
        size = -(-len(table) // trainer.world_size)
        start = trainer.global_rank * size
        ids = table.to_series(0)[start : start + len(heads[0])]
        path = self.output
        if trainer.world_size > 1:
            path = path.with_suffix(f".{trainer.global_rank}{path.suffix}")
        write_embeddings(path, ids, heads)
        side = "candidates" if data.predict == "candidate" else "queries"
        LOGGER.info("embeddings of %s %s: %s", f"{len(ids):,}", side, path)


def write_embeddings(path: Path, ids: pl.Series, heads: list[NDArray[np.float32]]) -> None:
    """Write ids (n,) and the vectors (n, d) of each head, atomically.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     path = Path(folder) / "films.parquet"
        ...     write_embeddings(path, pl.Series([7, 9]), [np.eye(2, dtype=np.float32)])
        ...     pl.read_parquet(path).rows()
        [(7, [1.0, 0.0]), (9, [0.0, 1.0])]
    """
    parts = []
    for head, vectors in enumerate(heads):
        flat = pl.Series("vector", vectors.reshape(-1))  # without a copy
        part = pl.DataFrame([ids.alias("id"), flat.reshape((len(ids), vectors.shape[1]))])
        parts.append(part if len(heads) == 1 else part.with_columns(head=pl.lit(head, pl.Int64)))
    with atomic_write(path) as temporary:
        pl.concat(parts, rechunk=False).write_parquet(temporary, row_group_size=1 << 16)
