"""A loss on the first numbers of the embedding, at several widths together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.errors import UserError, require_positive, require_whole


class Matryoshka(Loss):
    r"""Any loss on the first numbers of the embedding, at several widths: a short embedding ranks as well as it can.

    .. math:: \sum_{m} w_m \, L(s^{(m)})

    with the logits :math:`s^{(m)}` of embeddings that are cut to width m: their first m numbers, scaled to length 1
    again if the tower normalises (:class:`~dssm_lightning.models.embedding_layout.EmbeddingLayout`). Everything else is
    the same at each width: the columns, which of them are valid, their counts and their log_q, a teacher's scores, the
    scale of the scorer. Features in ``bypass`` and biases are whole at every width. Heads (``MultiHeadDot``) keep an
    equal part each. ``MLPScorer`` is refused, since its weights are for one width.

    The trained model can be cut to any of the widths, at a cost that depends on the data, and to widths between: see
    ``truncate_dim`` of ``TwoTower``, of ``export`` and of :func:`~dssm_lightning.api.load_retriever`. Vectors of a
    quarter of the width take a quarter of the memory, and about a quarter of the time of exact search.

    A batch is scored once for each width, so that a step takes longer where scoring takes most of it.

    Args:
        loss: the loss at each width.
        dims: the widths, ascending; the last one is the whole width, the tower's ``output_dim``.
        weights: the weight of each width; None = 1 each, as in the paper.

    Source: Kusupati et al., arXiv 2205.13147. sentence-transformers' ``MatryoshkaLoss`` does the same for its losses.

    Raises:
        UserError: widths that do not ascend, or are no whole numbers from 1; other than one positive weight for each;
            a loss that has widths itself, or compares whole embeddings. ``TwoTower`` refuses widths that its
            embeddings do not have.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import Matryoshka, SampledSoftmax, Scores
        >>> scores = Scores(
        ...     torch.tensor([[3.0, 1.0]]).log(), torch.tensor([0]), torch.tensor([[True, True]]), torch.ones(2),
        ...     torch.zeros(2), None, narrow=(torch.tensor([[1.0, 1.0]]).log(),),
        ... )
        >>> Matryoshka(SampledSoftmax, dims=[32, 128], weights=[2.0, 1.0])(scores)  # 2 log 2 + log 4/3
        tensor([1.6740])
    """

    def __init__(self, loss: Callable[[], Loss], dims: list[int], weights: list[float] | None = None) -> None:
        super().__init__()
        if not dims:
            raise UserError("Matryoshka: dims is []; name at least the whole width of the embedding")
        for width in dims:
            require_whole("Matryoshka", "a width of dims", width, hint=f"dims is {dims}")
        if sorted(set(dims)) != list(dims):
            raise UserError(f"Matryoshka: dims is {dims}; its widths must ascend")
        if weights is not None and len(weights) != len(dims):
            raise UserError(f"Matryoshka: weights has {len(weights)} values, and dims has {len(dims)} widths")
        for weight in weights or []:
            require_positive("Matryoshka", "a weight of weights", weight, hint=f"weights is {weights}")
        self.loss = loss()
        if self.loss.dims:
            raise UserError(f"Matryoshka: loss is {type(self.loss).__name__}, which has widths itself")
        if self.loss.uses_teacher_embeddings:
            raise UserError(
                f"Matryoshka: loss is {type(self.loss).__name__}, which compares whole embeddings with a teacher's; "
                "put it beside Matryoshka in a WeightedSum"
            )
        if self.loss.uses_rating or self.loss.uses_likes:
            raise UserError(
                f"Matryoshka: loss is {type(self.loss).__name__}, which reads whole embeddings; put it beside "
                "Matryoshka in a WeightedSum or in Objectives"
            )
        self.dims, self.weights, self.objectives = tuple(dims), weights or [1.0] * len(dims), self.loss.objectives
        self.uses_labels, self.uses_teacher = self.loss.uses_labels, self.loss.uses_teacher
        self.needs_scores = self.loss.needs_scores
        self.compares, self.symmetric = self.loss.compares, self.loss.symmetric

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) weighted sum of the loss's values at all widths.

        Raises:
            UserError: the scores do not have the logits of each width.
        """
        if len(scores.narrow) != len(self.dims) - 1:
            raise UserError(
                f"Matryoshka: dims has {len(self.dims)} widths, and the scores have the logits of "
                f"{len(scores.narrow) + 1}: the loss around it must have its dims, as WeightedSum has them"
            )
        whole = scores._replace(narrow=())
        widths = (*scores.narrow, scores.logits)
        values = [w * self.loss(whole._replace(logits=s)) for w, s in zip(self.weights, widths, strict=True)]
        total: Tensor = sum(values[1:], values[0])
        return total

    def build(self, widths: tuple[int, int]) -> None:
        """Make the layers of the loss."""
        self.loss.build(widths)

    def extra_repr(self) -> str:
        """Return the settings, which ``print(model)`` shows."""
        return f"dims={list(self.dims)}, weights={self.weights}"
