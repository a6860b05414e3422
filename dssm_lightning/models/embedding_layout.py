"""Which numbers of an embedding come from the layers, and how an embedding is cut to fewer of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import lcm
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dssm_lightning.models.scorers import Scorer
from dssm_lightning.models.tower import Tower
from dssm_lightning.utils.errors import UserError, require_whole
from dssm_lightning.utils.unit_rows import unit_rows


class EmbeddingLayout(NamedTuple):
    """What the numbers of one side's embedding are: those of the layers, then ``bypass`` features, 1 and bias.

    Cut to a width, an embedding is what a tower of this ``output_dim`` would give: the first numbers of the layers,
    scaled to length 1 if the tower normalises, and all numbers after them. Where an embedding consists of heads, every
    head keeps its first numbers.

    Example:
        >>> layout = EmbeddingLayout(width=4, heads=1, parts=1, normalize=True)
        >>> layout.cut(torch.tensor([[0.3, 0.4, 0.5, 0.7, 9.0]]), 2)  # 9 is a bias
        tensor([[0.6000, 0.8000, 9.0000]])
        >>> heads = EmbeddingLayout(width=4, heads=2, parts=2, normalize=False)
        >>> heads.cut(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 2)
        tensor([[1., 3.]])
    """

    width: int
    """Numbers that the layers make; of no other width, ``bypass`` features and biases are left out."""
    heads: int
    """Equal parts of them that the tower scales to length 1 each."""
    parts: int
    """Equal parts of them that are cut each: the heads of towers and scorer."""
    normalize: bool
    """Whether the tower scales to length 1."""

    @classmethod
    def of(cls, tower: Tower, parts: int) -> EmbeddingLayout:
        """Return the layout of a tower's embeddings."""
        return cls(tower.output_dim - sum(tower.bypass_dims), tower.num_heads, parts, tower.normalize)

    def cut(self, embedding: Tensor, width: int) -> Tensor:
        """(B, D) -> (B, D − whole width + width); the embedding itself if this is the whole width."""
        if width == self.width:
            return embedding
        rows = embedding.shape[0]
        layers, others = embedding.tensor_split([self.width], dim=1)
        kept = layers.reshape(rows, self.parts, self.width // self.parts)[:, :, : width // self.parts]
        if self.normalize:
            kept = unit_rows(kept.reshape(rows, self.heads, width // self.heads))
        return torch.cat([kept.reshape(rows, width), others], dim=1)


class Layouts(NamedTuple):
    """The layouts of both sides, which are cut to the same width.

    Example:
        >>> side = EmbeddingLayout(width=4, heads=1, parts=1, normalize=False)
        >>> query, candidate = torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        >>> Layouts(side, side).logits(lambda q, c: q @ c.T, query, candidate, widths=(1, 2))
        (tensor([[1.]]), tensor([[3.]]))
    """

    query: EmbeddingLayout
    candidate: EmbeddingLayout

    @classmethod
    def of(cls, towers: dict[str, Tower], scorer: Scorer) -> Layouts:
        """Return the layouts of two towers whose embeddings the scorer compares."""
        parts = lcm(scorer.num_heads, *(tower.num_heads for tower in towers.values()))
        return cls(*(EmbeddingLayout.of(towers[side], parts) for side in ("query", "candidate")))

    def logits(
        self, score: Callable[[Tensor, Tensor], Tensor], query: Tensor, candidate: Tensor, widths: Sequence[int]
    ) -> tuple[Tensor, ...]:
        """Score the embeddings (Q, D) and (C, D) at each of the widths."""
        return tuple(score(self.query.cut(query, width), self.candidate.cut(candidate, width)) for width in widths)

    def own_logits(self, scorer: Scorer, candidate: Tensor) -> Tensor:
        """Return (C,) the logit of what the layers make of each candidate (C, D) with itself.

        Only there can the embedding of a query be a sum of candidates: a bias meets a 1, and ``bypass`` features have
        codes of their own on each side.
        """
        width = self.candidate.width
        layers = F.pad(candidate[:, :width], (0, candidate.shape[1] - width))
        each = torch.arange(len(layers), device=layers.device)[:, None]  # (C, 1)
        own: Tensor = scorer.pairs(layers, layers, each).squeeze(1)
        return own


def check_width(width: int, towers: dict[str, Tower], scorer: Scorer, owner: str, setting: str) -> None:
    """Refuse a width that the embeddings of two towers cannot be cut to.

    Args:
        width: numbers of the layers that are kept.
        towers: both towers by side.
        scorer: compares their embeddings.
        owner: owner of the setting, for the message.
        setting: its name, for the message.

    Raises:
        UserError: no whole number from 1 to the width of the layers; sides of different widths; a width that cuts
            heads apart; a scorer whose weights have one width.
    """
    require_whole(owner, setting, width)
    layouts, found = Layouts.of(towers, scorer), f"{owner}: {setting} is {width}"
    if not scorer.takes_any_width:
        raise UserError(
            f"{found}, but {type(scorer).__name__} has weights for whole embeddings and cannot score shorter ones; use "
            "Dot, or leave it out"
        )
    whole = layouts.query.width
    if whole != layouts.candidate.width:
        raise UserError(
            f"{found}, which both sides are cut to, but the layers of the query tower make {whole} numbers and those "
            f"of the candidate tower {layouts.candidate.width}; give both the same output_dim"
        )
    if width > whole:
        raise UserError(f"{found}; {_possible(towers['query'], whole)}")
    parts = layouts.query.parts
    if scorer.num_heads > 1 and any(tower.bypass or tower.bias is not None for tower in towers.values()):
        raise UserError(
            f"{found}, and {type(scorer).__name__} with num_heads {scorer.num_heads} has bypass features and biases "
            "among its heads, which then cannot be cut; use towers without bypass and bias"
        )
    if whole % parts or width % parts:
        raise UserError(
            f"{found}, which cuts heads apart: num_heads is {parts} and every head keeps an equal part of its "
            f"{whole / parts:g} numbers; choose a multiple of {parts}"
        )


def _possible(tower: Tower, whole: int) -> str:
    if not tower.bypass:
        return f"the embedding is {whole} wide: choose a width from 1 to {whole}"
    return (
        f"the layers make {whole} numbers of an embedding, and the bypass features after them "
        f"({', '.join(tower.bypass)}) are whole in every width: choose a width from 1 to {whole}"
    )
