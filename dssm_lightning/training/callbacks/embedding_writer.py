"""What ``predict`` writes: the embeddings of one side, with their ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from dssm_lightning.utils.atomic_files import atomic_write
from dssm_lightning.utils.memory_mapped import Spool


class EmbeddingWriter(Callback):
    """Writes what ``predict`` embeds as Parquet: id, vector, and head where each id has several vectors.

    Several ranks write a part each. Embeddings wait on the disk beside the file, not in memory, until all are there.

    Args:
        output: the file; with several ranks ``.<rank>`` comes before its suffix.
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
        """Keep a batch's embeddings (H, B, d)."""
        if not self._heads:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            self._heads = [Spool(self.output.parent) for _ in outputs]
        for head, vectors in zip(self._heads, outputs.float().cpu(), strict=True):
            head.append(vectors.numpy())

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write all embeddings of this rank."""
        data = trainer.datamodule  # type: ignore[attr-defined]  # Lightning sets it, untyped
        table = data.candidates if data.predict == "candidate" else data.data.queries
        heads = [head.mapped() for head in self._heads]
        self._heads.clear()
        share = -(-len(table) // trainer.world_size)
        ids = table.to_series(0)[trainer.global_rank * share : trainer.global_rank * share + len(heads[0])]
        path = self.output
        if trainer.world_size > 1:
            path = path.with_suffix(f".{trainer.global_rank}{path.suffix}")
        write_embeddings(path, ids, heads)
        print(f"{len(ids):,} {'candidates' if data.predict == 'candidate' else 'queries'} as vectors: {path}")


def write_embeddings(path: Path, ids: pl.Series, heads: list[NDArray[np.float32]]) -> None:
    """Write ids (n,) and vectors, (n, d) of each head, head by head, whole or not at all."""
    parts = []
    for head, vectors in enumerate(heads):
        flat = pl.Series("vector", vectors.reshape(-1))  # of the same memory
        part = pl.DataFrame([ids.alias("id"), flat.reshape((len(ids), vectors.shape[1]))])
        parts.append(part if len(heads) == 1 else part.with_columns(head=pl.lit(head, pl.Int64)))
    with atomic_write(path) as temporary:
        pl.concat(parts, rechunk=False).write_parquet(temporary, row_group_size=1 << 16)
