"""Word embeddings that others have trained."""

from __future__ import annotations

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from dssm_lightning.features.base import Feature
from dssm_lightning.features.text.vocabulary_words import Words
from dssm_lightning.features.text.word_vector_files import read_vector_table
from dssm_lightning.models.encoders.base import Encoder
from dssm_lightning.models.encoders.embedding_bag import bag_sums
from dssm_lightning.utils.errors import UserError
from dssm_lightning.utils.ragged import Column, Ragged


class WordVectors(Encoder):
    """The mean of the vectors that a table gives for a text's words; words that it does not have do not count.

    A text without a known word gives zeros. Its sibling :class:`EmbeddingBag` learns its table from nothing.

    The table is read where an untrained model is built, and then lies among its weights: a trained model is loaded
    without the file.

    Args:
        feature: a fitted Words with ``vectors``, which names the table.
        output_dim: D, where it should be checked; None = the table's.
        trainable: whether training changes the vectors.

    Raises:
        ValueError: a feature without ``vectors``; vectors of another width; a table that has changed since the
            feature was fitted, so that words miss.
    """

    def __init__(self, feature: Feature, output_dim: int | None = None, trainable: bool = False) -> None:
        super().__init__()
        if not isinstance(feature, Words) or feature.vectors is None:
            raise UserError(
                f"WordVectors encodes a Words feature that names its table as `vectors`; {feature.name!r} is a "
                f"{type(feature).__name__} without"
            )
        vectors = _vectors(feature, output_dim)
        self.table = nn.Embedding(vectors.shape[0], vectors.shape[1], _weight=vectors).requires_grad_(trainable)
        self.output_dim = vectors.shape[1]

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        known = (column.values > 0).to(self.table.weight.dtype)  # (T,)
        count = known.new_zeros(len(column.offsets) - 1).index_add(0, column.rows, known)
        weights = known / count.clamp(min=1)[column.rows]
        return bag_sums(self.table.weight, column.values, column.offsets, weights)


def _vectors(feature: Words, output_dim: int | None) -> Tensor:
    """(V + 1, D) the vectors of the vocabulary after a row of zeros, which stands for all other words."""
    label = f"encoder of {feature.name!r}"
    assert feature.vectors is not None
    vocabulary = feature.vocabulary or ()
    path = Path(feature.vectors)
    wanted = output_dim or feature.vector_dim
    if not path.is_file() and feature.vector_dim is not None:
        warnings.warn(f"{label}: there is no {str(path)!r}; its vectors must come from a checkpoint", stacklevel=3)
        return torch.full((len(vocabulary) + 1, feature.vector_dim), torch.nan)  # never mistaken for vectors
    table = read_vector_table(path, label)
    width = table.vectors.shape[1]
    if wanted not in (None, width):
        source = "output_dim is" if output_dim is not None else "the feature was fitted with vectors of"
        raise UserError(f"{label}: {source} {wanted}, the vectors of {str(path)!r} have {width} numbers")
    row = dict(zip(table.words, range(len(table.words)), strict=True))
    missing = [word for word in vocabulary if word not in row]
    if missing:
        raise UserError(
            f"{label}: {len(missing):,} of the {len(vocabulary):,} words that the feature was fitted with are not in "
            f"{str(path)!r}, first {missing[:3]}; fit anew"
        )
    vectors = torch.from_numpy(table.vectors[[row[word] for word in vocabulary]])
    return torch.cat([vectors.new_zeros(1, width), vectors])
