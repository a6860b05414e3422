"""Encoders: one feature's column -> one vector for each row.

Each kind of feature has a default encoder; a tower's ``encoders`` can name another.
"""

from dssm_lightning.features import (
    BagOfWordsRandomProjection,
    Bucketized,
    Categorical,
    CategoricalList,
    Feature,
    HashedNgrams,
    HashedTrigrams,
    HashedWords,
    History,
    Image,
    LikedBy,
    Numeric,
    Tokens,
    Trigrams,
    Vector,
    Words,
    WordTrigrams,
)
from dssm_lightning.models.encoders.attention_pooling import AttentionPooling
from dssm_lightning.models.encoders.backbone import Backbone
from dssm_lightning.models.encoders.base import Encoder, EncoderFactory
from dssm_lightning.models.encoders.bilstm import BiLSTM
from dssm_lightning.models.encoders.conv_trigrams import ConvTrigrams
from dssm_lightning.models.encoders.convnet import ConvNet
from dssm_lightning.models.encoders.decayed_bag import DecayedEmbeddingBag
from dssm_lightning.models.encoders.dense import Dense, Identity, Linear
from dssm_lightning.models.encoders.embedding import Embedding
from dssm_lightning.models.encoders.embedding_bag import EmbeddingBag
from dssm_lightning.models.encoders.fixed_codes import Codes
from dssm_lightning.models.encoders.random_view import BatchTransform, RandomView
from dssm_lightning.models.encoders.sequential import GRU, SelfAttention
from dssm_lightning.models.encoders.term_bag import TermBag
from dssm_lightning.models.encoders.word_vectors import WordVectors
from dssm_lightning.utils.errors import UserError

__all__ = [
    "GRU",
    "AttentionPooling",
    "Backbone",
    "BatchTransform",
    "BiLSTM",
    "Codes",
    "ConvNet",
    "ConvTrigrams",
    "DecayedEmbeddingBag",
    "Dense",
    "Embedding",
    "EmbeddingBag",
    "Encoder",
    "EncoderFactory",
    "Identity",
    "Linear",
    "RandomView",
    "SelfAttention",
    "TermBag",
    "WordVectors",
    "default_encoder",
]

_DEFAULTS: dict[type[Feature], type[Encoder]] = {
    Categorical: Embedding,
    Bucketized: Embedding,
    CategoricalList: EmbeddingBag,
    HashedTrigrams: EmbeddingBag,
    Trigrams: EmbeddingBag,
    WordTrigrams: ConvTrigrams,
    HashedNgrams: EmbeddingBag,
    HashedWords: EmbeddingBag,
    Words: EmbeddingBag,
    Tokens: EmbeddingBag,
    History: EmbeddingBag,
    LikedBy: EmbeddingBag,
    Numeric: Identity,
    BagOfWordsRandomProjection: Identity,
    Vector: Linear,
    Image: ConvNet,
}


def default_encoder(feature: Feature) -> type[Encoder]:
    """Return the default encoder of a feature's class, or of its nearest base class that has one.

    Raises:
        UserError: the feature's class has no default encoder.

    Example:
        >>> default_encoder(Numeric(name="age")).__name__
        'Identity'
    """
    for kind in type(feature).__mro__:
        if kind in _DEFAULTS:
            return _DEFAULTS[kind]
    raise UserError(
        f"feature {feature.name!r}: {type(feature).__name__} has no default encoder; name an encoder in the tower's "
        f"`encoders` (kinds with a default: {', '.join(sorted(known.__name__ for known in _DEFAULTS))})"
    )
