"""Pretrained word vectors."""

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
    r"""Mean of pretrained vectors of a text's words. Words without a vector do not count.

    A text without a known word gives zeros. :class:`EmbeddingBag` trains its table from random values instead.

    An untrained model reads the vectors from their file. The checkpoint has the vectors, so a trained model loads
    without the file.

    Args:
        feature: a fitted Words with ``vectors``, the path of the file.
        output_dim: expected width D of the vectors, to be checked; None = no check.
        trainable: whether training changes the vectors.

    Raises:
        UserError: the feature has no ``vectors``, the vectors have another width, or the file has changed and lacks
            words of the fitted feature.

    Example:
        >>> import tempfile
        >>> import polars as pl
        >>> from dssm_lightning.features import Words
        >>> from dssm_lightning.models.encoders import WordVectors
        >>> with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        ...     print("cat 1 0\ndog 0 1", file=file, flush=True)
        ...     feature = Words(name="title", vectors=file.name).fit(pl.Series(["cat"]))
        ...     encoder = WordVectors(feature)
        >>> encoder(feature.encode(pl.Series(["a cat and a dog", "dogs"]))).tolist()
        [[0.5, 0.5], [0.0, 0.0]]
    """

    def __init__(self, feature: Feature, output_dim: int | None = None, trainable: bool = False) -> None:
        super().__init__()
        if not isinstance(feature, Words) or feature.vectors is None:
            raise UserError(
                f"WordVectors encodes Words features with `vectors`, the path of a file; {feature.name!r} is "
                f"{type(feature).__name__} without `vectors`"
            )
        vectors = _vectors(feature, output_dim)
        self.table = nn.Embedding(vectors.shape[0], vectors.shape[1], _weight=vectors).requires_grad_(trainable)
        self.output_dim = vectors.shape[1]

    def forward(self, column: Column) -> Tensor:
        """Ragged of B rows -> (B, D)."""
        assert isinstance(column, Ragged)
        known = (column.values > 0).to(self.table.weight.dtype)  # (T,)
        count = known.new_zeros(column.offsets.shape[0] - 1).index_add(0, column.rows, known)
        weights = known / count.clamp(min=1)[column.rows]
        return bag_sums(self.table.weight, column.values, column.offsets, weights)


def _vectors(feature: Words, output_dim: int | None) -> Tensor:
    """(V + 1, D) a row of zeros for unknown words, and the vectors of the vocabulary."""
    label = f"encoder of {feature.name!r}"
    assert feature.vectors is not None
    vocabulary = feature.vocabulary or ()
    path = Path(feature.vectors)
    wanted = output_dim or feature.vector_dim
    if not path.is_file() and feature.vector_dim is not None:
        warnings.warn(
            f"{label}: the file {str(path)!r} does not exist; the vectors must come from a checkpoint", stacklevel=3
        )
        return torch.full((len(vocabulary) + 1, feature.vector_dim), torch.nan)  # cannot be mistaken for vectors
    table = read_vector_table(path, label)
    width = table.vectors.shape[1]
    if wanted not in (None, width):
        source = "output_dim is" if output_dim is not None else "the feature was fitted with vectors of width"
        raise UserError(f"{label}: {source} {wanted}, but the vectors of {str(path)!r} have width {width}")
    row = dict(zip(table.words, range(len(table.words)), strict=True))
    missing = [word for word in vocabulary if word not in row]
    if missing:
        raise UserError(
            f"{label}: {str(path)!r} lacks {len(missing):,} of the {len(vocabulary):,} words of the fitted feature, "
            f"first {missing[:3]}; fit the feature again"
        )
    vectors = torch.from_numpy(table.vectors[[row[word] for word in vocabulary]])
    return torch.cat([vectors.new_zeros(1, width), vectors])
