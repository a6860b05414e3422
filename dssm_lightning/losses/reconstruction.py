"""ELSA: all positives of a query at once, as one direction that the scores shall have."""

from __future__ import annotations

from torch import Tensor

from dssm_lightning.losses.base import Loss, Scores
from dssm_lightning.utils.unit_rows import unit_rows


class ELSA(Loss):
    r"""Squared distance of a query's scores from its likes, both of length 1: a shallow linear autoencoder.

    .. math:: \left\| \frac{p}{\|p\|} - \frac{t}{\|t\|} \right\|^2 = 2 - 2 \cos(p, t)

    over all columns, with t = 1 for the target and the query's known positives and 0 for the others. All positives of
    a query are learnt from one row, so that one row for each query and epoch is enough: ``batch_by: query`` with
    ``rows_per_query: 1``.

    The query's embedding must be the sum of the candidates' embeddings over its other likes: a ``History`` of the
    candidate's id, without ``dropout``, ``max_length`` and times, in an ``EmbeddingBag`` with ``pooling: sum`` that
    shares the candidate's table (``tied_embeddings``), no layers, no ``memory_size``, and ``normalize: false`` in both
    towers; ``fit`` refuses another model. Each positive but the target is then in the query, and its score holds its
    own squared length, of what is no bias and no ``bypass`` feature. It says nothing of other candidates and is
    subtracted:

    .. math:: p_j = s_j - [j \text{ liked},\ j \ne \text{target}] \, \langle v_j, v_j \rangle

    This is x A Aᵀ − x of the paper with the target left out. There, rows of A have the length 1, which ``normalize:
    true`` of both *encoders* does, and which keeps a table from overfitting (docs/results.md). Like ``EASE``,
    it is linear in the likes and has no self-similarity. But its width limits the rank, which is another
    regularisation: the sum of both scores ranks better than either (``CodesFromEASE``).

    The columns stand for the corpus: draw enough of them (``Uniform``), and let ``mask_known`` be true, since known
    positives come from there. Rows with negatives of their own are refused.

    Source: Vančura et al., RecSys 2022 (ELSA), doi 10.1145/3523227.3551482.

    Example:
        >>> import torch
        >>> from dssm_lightning.losses import ELSA, Scores
        >>> liked, ones = torch.tensor([[True, True, False]]), torch.ones(3)
        >>> scores = Scores(torch.tensor([[0.5, 1.5, 0.0]]), torch.tensor([0]), ~liked, ones, ones, None)
        >>> ELSA()(scores._replace(liked=liked, own=ones))  # (0.5, 1.5 − 1, 0) points as (1, 1, 0) does
        tensor([0.])
    """

    uses_likes = True

    def forward(self, scores: Scores) -> Tensor:
        """(Q,) squared distances, between 0 and 4; 0 for a query that likes every column."""
        liked, own = scores.liked, scores.own
        assert liked is not None, "uses_likes asks for them"
        assert own is not None
        others = liked.scatter(1, scores.target[:, None], False)
        predicted = scores.logits - others * own
        distance = (unit_rows(predicted) - unit_rows(liked.float())).square().sum(1)
        return distance.masked_fill(liked.all(1), 0.0)
