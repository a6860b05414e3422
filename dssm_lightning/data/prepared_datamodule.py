"""A data module whose data one process encodes and every process maps, and what these data say of themselves."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from dssm_lightning.data.batching.assembler import Assembler
from dssm_lightning.data.preparation import cache
from dssm_lightning.data.preparation.prepare import Recipe, prepare
from dssm_lightning.features.schema import Schemas


class CachedDataModule(LightningDataModule):
    """Prepared data, whatever is asked for first. What is made of them is said by ``_assemble`` of a subclass.

    Args:
        recipe: what to encode.
        cache_dir: folder for encoded data.
    """

    def __init__(self, recipe: Recipe, cache_dir: str) -> None:
        super().__init__()
        self.recipe, self.cache_dir = recipe, Path(cache_dir)
        self.fitted: Schemas | None = None
        """Schemas to encode with, where a model that was trained before is measured or served; None = fit."""
        self._folder: Path | None = None
        self._assembler: Assembler | None = None

    def prepare_data(self) -> None:
        """Encode everything once (one process), unless a cache of the same data and declarations is there."""
        self._folder = prepare(self.recipe, self.cache_dir, self._known_schemas())

    def setup(self, stage: str | None = None) -> None:
        """Map the cache into memory (every process)."""
        if self._folder is None:  # prepare_data is called in one process of each machine
            self._folder = prepare(self.recipe, self.cache_dir, self._known_schemas())
        data = cache.read(self._folder)
        self._assembler = self._assemble(data)
        if stage == "fit":
            told = {"queries": len(data.queries), "candidates": len(data.candidates), **data.report}
            rank_zero_info("data: " + ", ".join(f"{count:,} {what}" for what, count in told.items()))

    def _known_schemas(self) -> Schemas | None:
        """What a checkpoint or a trained model dictates: only ``fit`` from scratch fits."""
        model = None if self.trainer is None else getattr(self.trainer.lightning_module, "schemas", None)
        return model if self.fitted is None else self.fitted

    def _assemble(self, data: cache.Prepared) -> Assembler:
        """What makes batches of the data.

        Raises:
            ValueError: the data are not what the settings need.
        """
        raise NotImplementedError

    @property
    def assembler(self) -> Assembler:
        """Makes batches of the prepared data."""
        if self._assembler is None:
            self.prepare_data()
            self.setup()
        assert self._assembler is not None
        return self._assembler

    @property
    def data(self) -> cache.Prepared:
        """The prepared data, memory-mapped."""
        return self.assembler.data

    @property
    def folder(self) -> Path:
        """Where the encoded data lie."""
        if self._folder is None:
            self.prepare_data()
        assert self._folder is not None
        return self._folder

    @property
    def schemas(self) -> Schemas:
        """The fitted features of both sides."""
        return self.data.schemas

    @property
    def labelled(self) -> bool:
        """Whether interactions carry labels."""
        return self.data.interactions.label is not None

    @property
    def num_candidates(self) -> int:
        """N, the size of the corpus."""
        return len(self.data.candidates)

    @property
    def popularity(self) -> Tensor:
        """(N,) int64 training positives of each candidate."""
        return torch.bincount(self.assembler.likes.candidates.values, minlength=self.num_candidates)

    @property
    def candidates(self) -> pl.DataFrame:
        """The corpus: the key column first, then its raw columns."""
        return self.data.candidates
