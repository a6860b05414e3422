"""The model that a command asks: a bundle, which needs neither torch nor data, or a checkpoint with its run's data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dssm_lightning.utils.errors import UserError

if TYPE_CHECKING:
    from dssm_lightning.data.retrieval_data import RetrievalData
    from dssm_lightning.models.two_tower import TwoTowerModel
    from dssm_lightning.retrieval.blend import Blend
    from dssm_lightning.retrieval.retriever import Retriever


class OpenedRetriever:
    """A bundle, or a checkpoint whose corpus is embedded when :meth:`retriever` is first called.

    Args:
        bundle: a folder or a URL; None = a checkpoint.
        ckpt_path: a file, ``best`` or ``last``; None = ``best``.
        config: as for :func:`~dssm_lightning.cli.checkpoint_arguments.load_chosen`.

    Attributes:
        data: of the checkpoint's run; None with a bundle.
        total: N, the number of candidates.

    Raises:
        UserError: a bundle together with a checkpoint or a config; what is wrong with either.
    """

    def __init__(self, bundle: str | None, ckpt_path: str | None, config: Sequence[str] | None) -> None:
        self.data: RetrievalData | None = None
        self._model: TwoTowerModel | None = None
        self._blend: Blend | None = None
        self._retriever: Retriever | None = None
        if bundle is not None:
            _require_alone(bundle, ckpt_path, config)
            from dssm_lightning.retrieval.retriever import Retriever

            self._retriever = Retriever.load(bundle)
            self.total = len(self._retriever)
            return
        from dssm_lightning.cli.checkpoint_arguments import load_file, require_checkpoint
        from dssm_lightning.retrieval.blend import chosen_blend
        from dssm_lightning.training.run_folders import run_of

        checkpoint = require_checkpoint(ckpt_path or "best", config[0] if config else None)
        self._model, self.data = load_file(checkpoint, config)
        self._blend = chosen_blend(run_of(checkpoint))
        self.total = len(self.data.candidates)

    def retriever(self) -> Retriever:
        """Return the retriever of the model over its corpus."""
        if self._retriever is None:
            from dssm_lightning.api import make_retriever

            assert self._model is not None
            assert self.data is not None
            self._retriever = make_retriever(self._model, self.data, self._blend)
        return self._retriever

    def require_k(self, command: str, k: int | None, excluded: int = 0) -> int:
        """Return the number of answers, by default 10, or what is left of a small corpus.

        Args:
            command: its name, for the message.
            k: the number that was asked for; None = the default.
            excluded: candidates that are left out.

        Raises:
            UserError: a number that is not from 1 to the candidates that are left.
        """
        left = self.total - excluded
        if k is None:
            return max(1, min(10, left))
        if not 1 <= k <= left:
            out = f", {excluded:,} of them excluded" if excluded else ""
            raise UserError(
                f"{command}: k is {k}; the corpus has {self.total:,} candidates{out}: choose a k from 1 to {left:,}"
            )
        return k


def joined_filter(filters: Sequence[str] | None) -> str | None:
    """Return one filter that holds where all of several do; None without a filter.

    Raises:
        UserError: one of them is no filter.

    Example:
        >>> joined_filter(["year > 1990", "genre = 'drama' or genre = 'war'"])
        "(year > 1990) and (genre = 'drama' or genre = 'war')"
    """
    if not filters:
        return None
    from dssm_lightning.retrieval.filters.grammar import parse_filter

    for each in filters:
        parse_filter(each)  # each for itself, so that an open bracket cannot reach into the next one
    return filters[0] if len(filters) == 1 else " and ".join(f"({each})" for each in filters)


def _require_alone(bundle: str, ckpt_path: str | None, config: Sequence[str] | None) -> None:
    for name, value in (("--ckpt_path", ckpt_path), ("--config", None if not config else ", ".join(config))):
        if value is not None:
            raise UserError(f"--bundle {bundle} and {name} {value} name two models: leave one of them out")
