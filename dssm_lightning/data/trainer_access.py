"""The data module of a trainer, which Lightning leaves untyped."""

from __future__ import annotations

from typing import Any

from dssm_lightning.data.datamodule import RetrievalDataModule
from dssm_lightning.utils.errors import UserError


def datamodule_of(trainer: Any) -> RetrievalDataModule:
    """Return the trainer's data module.

    Raises:
        UserError: it is of another class, or missing.
    """
    found = getattr(trainer, "datamodule", None)
    if not isinstance(found, RetrievalDataModule):
        raise UserError(f"the trainer's data module is {type(found).__name__}; pass datamodule=RetrievalDataModule(…)")
    return found
