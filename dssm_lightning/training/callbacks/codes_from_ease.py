"""EASE's matrix as a fixed channel beside the towers: the codes of two encoders, filled when a fit begins."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.distributed.tensor import DTensor

from dssm_lightning.data.trainer_access import datamodule_of
from dssm_lightning.evaluation.baselines.ease_factors import EASEFactors, check_ease_factors, ease_factors
from dssm_lightning.features.history import History
from dssm_lightning.models.encoders import Codes
from dssm_lightning.models.two_tower import TwoTowerModel
from dssm_lightning.utils.errors import UserError, require_positive
from dssm_lightning.utils.logger import log_info
from dssm_lightning.utils.ragged import Column


class CodesFromEASE(Callback):
    """Fill the :class:`~dssm_lightning.models.encoders.Codes` of both sides so that their dot product is EASE's score.

    EASE's matrix of the training rows is factorised at the width of the codes, see
    :func:`~dssm_lightning.evaluation.baselines.ease_factors.ease_factors`. The codes of a ``History`` get one factor
    and those of the candidate's id the other. With both features in the ``bypass`` of their towers, the score of a pair
    is that of the towers plus weight × EASE's score of the candidate for the history. At the full width, the number of
    liked candidates, that score is exact. A narrow width keeps the strongest directions.

    The history leaves out the row's own candidate, so that a positive never scores itself. But the matrix knows the
    row: its score of a training row is higher than of a held-out one. A ``learnable`` weight is therefore too high;
    choose ``weight`` on validation rows. Use a history of its own without ``dropout``, of liked events.

    The codes are weights: checkpoints and bundles have them. A resumed fit keeps those of its checkpoint. After a
    ``warm_start`` the codes are computed from the new data.

    Args:
        history: name of the query's History; its encoder is ``Codes``.
        candidate: name of the candidate's feature of ids; its encoder is ``Codes``.
        l2: EASE's penalty, a number of queries.

    Raises:
        UserError: the penalty is not positive; a feature is missing, of another kind, not in ``bypass`` or not encoded
            by ``Codes``; two liked candidates have one id; data that are too large.

    Example:
        >>> from lightning.pytorch import Trainer
        >>> from dssm_lightning.training.callbacks import CodesFromEASE
        >>> callback = CodesFromEASE("liked", "film_code", l2=300)
        >>> trainer = Trainer(callbacks=callback, accelerator="cpu", logger=False)
    """

    def __init__(self, history: str, candidate: str, l2: float = 300.0) -> None:
        require_positive("CodesFromEASE", "l2", l2, "XᵀX alone may have no inverse")
        self.history, self.candidate, self.l2 = history, candidate, l2
        self._filled = self._resumed = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget an earlier fit; the state of a checkpoint comes later."""
        self._filled = self._resumed = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Factorise in the first process, and fill the codes in all of them."""
        if self._resumed:
            return
        data = datamodule_of(trainer)
        assert isinstance(pl_module, TwoTowerModel)
        codes = self._codes(pl_module)
        feature = data.schemas.query[self.history]
        assert isinstance(feature, History)
        positives, size, rank = data.assembler.likes.candidates, data.num_candidates, codes[0].output_dim
        check_ease_factors("CodesFromEASE", positives, size, self.l2)
        liked = torch.unique(positives.values.long())
        ids = [self._ids(name, data.data.candidate[name], liked) for name in (feature.of, self.candidate)]
        factors = ease_factors(positives, size, self.l2, rank) if trainer.is_global_zero else None
        factors = trainer.strategy.broadcast(factors)
        assert isinstance(factors, EASEFactors)
        for part, row, vectors in zip(codes, ids, factors, strict=True):
            part.fill(row, vectors[liked])
        self._filled = True
        log_info(f"codes from EASE: {len(liked):,} candidates, {rank:,} numbers, l2 {self.l2:g}")

    def state_dict(self) -> dict[str, Any]:
        """Return whether the codes are filled."""
        return {"filled": self._filled or self._resumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the codes of the checkpoint."""
        self._resumed = bool(state_dict["filled"])

    def _codes(self, model: TwoTowerModel) -> tuple[Codes, Codes]:
        """Return the encoders of both features."""
        assert model.schemas is not None
        found = []
        for side, name in (("query", self.history), ("candidate", self.candidate)):
            schema, tower, label = getattr(model.schemas, side), model.towers[side], f"CodesFromEASE: {side} feature"
            if name not in schema.names:
                raise UserError(f"{label} {name!r} does not exist; this side has {schema.names}")
            encoder, feature = tower.encoders[name], schema[name]
            if side == "query" and not (isinstance(feature, History) and feature.events == "liked"):
                raise UserError(f"{label} {name!r} is {type(feature).__name__}; it must be a History of events 'liked'")
            if not isinstance(encoder, Codes):
                raise UserError(f"{label} {name!r} has the encoder {type(encoder).__name__}; name Codes")
            if name not in tower.bypass:
                raise UserError(f"{label} {name!r} is not in the bypass of its tower, {tower.bypass}; name it there")
            assert encoder.table is not None
            if isinstance(encoder.table.weight, DTensor):
                raise UserError(f"{label} {name!r}: processes share the rows of its codes; use another strategy")
            found.append(encoder)
        query, candidate = found
        if query.output_dim != candidate.output_dim or query.table is candidate.table:
            raise UserError(
                f"CodesFromEASE: the codes of {self.history!r} and {self.candidate!r} need equal widths and tables of "
                f"their own; they have the widths {query.output_dim} and {candidate.output_dim}"
            )
        return query, candidate

    def _ids(self, name: str, column: Column, liked: Tensor) -> Tensor:
        """(N,) ids of the corpus -> those of the liked candidates (M,); 0 may repeat."""
        if not isinstance(column, Tensor):
            raise UserError(f"CodesFromEASE: candidate feature {name!r} has several ids for a candidate; name one")
        ids = column[liked].long()
        known = ids[ids > 0]
        if len(known) > len(torch.unique(known)):
            raise UserError(
                f"CodesFromEASE: candidate feature {name!r} gives one id to several liked candidates; name a "
                "Categorical of the candidate's id"
            )
        return ids
